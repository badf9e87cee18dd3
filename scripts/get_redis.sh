#!/usr/bin/env bash
# Unpacks Debian's Redis server into a folder, without installing it; for the tests. Usage: get_redis.sh FOLDER
set -euo pipefail
folder=$(mkdir -p "$1" && cd "$1" && pwd)
packages=(redis-server redis-tools libatomic1 libjemalloc2 liblzf1)
download=$(mktemp -d)
trap 'rm -rf "$download"' EXIT
cd "$download"
apt-get download "${packages[@]}" 2>/dev/null || { apt-get update && apt-get download "${packages[@]}"; }
for package in *.deb; do dpkg -x "$package" "$folder"; done
