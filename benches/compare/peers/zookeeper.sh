#!/usr/bin/env bash
# One ZooKeeper server in the foreground: zookeeper.sh NUMBER MEMBERS BASE_PORT DIRECTORY
# Server i serves clients on BASE_PORT + i.
set -euo pipefail
number=$1 members=$2 base=$3 directory=$4
mkdir -p "$directory"
echo "$((number + 1))" >"$directory/myid"
{
	printf 'tickTime=2000\ninitLimit=10\nsyncLimit=5\nmaxClientCnxns=0\nadmin.enableServer=false\n'
	printf '4lw.commands.whitelist=*\nforceSync=yes\ndataDir=%s\nclientPort=%s\n' "$directory" "$((base + number))"
	for ((i = 1; i <= members; i++)); do
		printf 'server.%s=127.0.0.1:%s:%s\n' "$i" "$((base + 1000 + i))" "$((base + 2000 + i))"
	done
} >"$directory/zoo.cfg"
exec java -Xmx1000m -cp "/usr/share/java/zookeeper.jar:/usr/share/java/*" \
	org.apache.zookeeper.server.quorum.QuorumPeerMain "$directory/zoo.cfg"
