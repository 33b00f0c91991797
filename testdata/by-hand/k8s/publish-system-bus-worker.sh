#!/bin/bash
# Builds the worker's image by hand, names it by the time, and writes that name into the manifest.
set -euo pipefail
tag=$(date +%Y%m%d-%H%M%S)
image="ghcr.io/busrig/system-bus-worker:$tag"
docker build -f packages/system-bus/Dockerfile -t "$image" .
docker push "$image"
sed -i '' "s|image: ghcr.io/busrig/system-bus-worker:.*|image: $image|" k8s/system-bus-worker.yaml
kubectl apply -f k8s/system-bus-worker.yaml
kubectl -n busrig rollout status deployment/system-bus-worker
