#!/bin/bash
set -euo pipefail
set -a; . /etc/busrig/gateway.env; set +a
cd /srv/busrig/packages/gateway
exec /usr/local/bin/bun run src/daemon.ts
