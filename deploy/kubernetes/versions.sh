#!/bin/sh
# Prints which containerd runs on each node, for versions.txt: a tree mounted at /host does not tell.
set -eu
exec kubectl get nodes \
  -o 'jsonpath={range .items[*]}{.metadata.name}={.status.nodeInfo.containerRuntimeVersion}{"\n"}{end}' "$@"
