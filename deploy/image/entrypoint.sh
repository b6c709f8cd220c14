#!/bin/sh
# Looks at the scratch, then does what BentoML's own entry point does: without arguments it serves the bento.
#
# Sockets and metrics are written there, and nothing anywhere else. Without it BentoML ends in a traceback, and without
# room in it the kernel kills a process later, when a page of its metrics can't be written.
set -eu

needed_mb=64
scratch=${TMPDIR:-/tmp}

for folder in "$scratch" "$BENTOML_HOME"; do
  if ! problem=$(mkdir -p "$folder" 2>&1 && : 2>&1 > "$folder/.probe-$$"); then
    echo "facebento can't write to its scratch $folder: ${problem##*: }. Mount a writable folder or a tmpfs there: docker" \
      "run --tmpfs $scratch, an emptyDir in Kubernetes." >&2
    exit 1
  fi
  rm -f "$folder/.probe-$$"
done

free_mb=$(df -Pm "$scratch" | awk 'NR == 2 { print $4 }')
if [ "$free_mb" -lt "$needed_mb" ]; then
  echo "facebento's scratch $scratch is full: $free_mb MB are free, $needed_mb are needed to start. Make room, or mount a" \
    "larger tmpfs or emptyDir there." >&2
  exit 1
fi

exec "$BENTO_PATH/env/docker/entrypoint.sh" "$@"
