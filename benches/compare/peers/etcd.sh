#!/usr/bin/env bash
# One etcd member in the foreground: etcd.sh NUMBER MEMBERS BASE_PORT DIRECTORY
# Member i serves clients on BASE_PORT + 10 i and peers on the port after it.
set -euo pipefail
number=$1 members=$2 base=$3 directory=$4
cluster=
for ((i = 0; i < members; i++)); do cluster+="${cluster:+,}m$i=http://127.0.0.1:$((base + i * 10 + 1))"; done
client=http://127.0.0.1:$((base + number * 10))
peer=http://127.0.0.1:$((base + number * 10 + 1))
exec etcd --name "m$number" --data-dir "$directory" --listen-client-urls "$client" --advertise-client-urls "$client" \
	--listen-peer-urls "$peer" --initial-advertise-peer-urls "$peer" --initial-cluster "$cluster" \
	--initial-cluster-state new --log-level error --logger zap --quota-backend-bytes 8000000000
