#!/usr/bin/env bash
# Installs what the comparison needs, from Debian: etcd and ZooKeeper. Says what is missing where it cannot.
set -uo pipefail
missing=()
command -v etcd >/dev/null || missing+=(etcd-server)
[ -e /usr/share/java/zookeeper.jar ] || missing+=(zookeeper)
command -v java >/dev/null || missing+=(default-jre-headless)
[ ${#missing[@]} -eq 0 ] && exit 0
if ! apt-get install -y --no-install-recommends "${missing[@]}" >/dev/null 2>&1; then
	echo "cannot install ${missing[*]}: what needs it is skipped" >&2
	exit 0
fi
# Debian starts etcd as a service, on the ports that people use.
systemctl stop etcd 2>/dev/null || service etcd stop >/dev/null 2>&1 || true
