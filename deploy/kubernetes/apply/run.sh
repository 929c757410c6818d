#!/bin/sh
# Applies the migration to the node whose root is mounted at /host if its plan is approved, restarts the node's
# containerd under guard, prints the report, and sleeps. The pod is ready once the node is migrated; a node that is
# refused or fails stays unready, and counts for maxUnavailable of the rollout.
set -u
. /script/common.sh

if [ -z "$from" ]; then
  echo "versions.txt has no containerd for the node $NODE_NAME: run versions.sh again" >&2
  idle
fi

# Each plan is written once on a node: a pod that is started again, after a reboot or a rollback, restarts nothing.
migrate plan >/run/migration/plan.json
digest=$(sed -n 's/^  "digest": "\([0-9a-f]*\)",*$/\1/p' /run/migration/plan.json)
written=/host/var/lib/containerd-registry-migrate/kubernetes/$digest
if [ -n "$digest" ] && [ -e "$written" ]; then
  cat /run/migration/plan.json
  echo "this plan was applied here before, with exit code $(cat "$written"): remove $written to try again" >&2
  idle
fi

migrate apply --expect-from /approved/digests.txt \
  --restart --restart-command "$RESTART_COMMAND" --health-command "$HEALTH_COMMAND" --health-timeout "$HEALTH_TIMEOUT" &
child=$!
# A signal ends `wait`, not the program, which is told and finishes or undoes what it has begun.
while :; do
  wait "$child"
  code=$?
  kill -0 "$child" 2>/dev/null || break
done
child=

case $code in 0 | 4 | 5)
  if [ -n "$digest" ]; then
    mkdir -p "${written%/*}"
    echo "$code" >"$written"
  fi
  ;;
esac
[ "$code" -ne 0 ] || touch /run/migration/done
idle
