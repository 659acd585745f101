#!/usr/bin/env bash
# Makes the package of this bundle again, and compares every file of it; run it without arguments for help.
set -euo pipefail

usage() {
  cat <<'TEXT'
usage: bash rebuild.sh --base-model FOLDER [--data FOLDER] [--work FOLDER]

  --base-model  the base model's folder (or BASE_MODEL=FOLDER)
  --data        folder of the data sets that README.md names as read (or DATA=FOLDER); what is on the hub and
                is not there is fetched at its commit
  --work        where source, environment, store and package go, some 30 GB for the real model
                (or WORK=FOLDER; default: rebuild/ beside this script); run again, it goes on from there

VENV=/path/to/.venv takes an environment that is there; without it one is made from the lock, which wants
Python 3.10 to 3.12 (PYTHON=/path chooses) and a package index.

Exit codes: 0 every file of the package is the same; 1 one differs, or a stage failed; 2 the input is at fault.
TEXT
}

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
base_model=${BASE_MODEL:-} data=${DATA:-} work=${WORK:-$here/rebuild}
while [ $# -gt 0 ]; do
  case $1 in
    -h | --help) usage; exit ;;
    --base-model | --data | --work)
      if [ $# -lt 2 ]; then
        echo "error: $1 names no folder" >&2
        usage >&2
        exit 2
      fi
      declare "$(tr - _ <<<"${1#--}")=$2"
      shift 2
      ;;
    *)
      echo "error: unknown argument '$1'" >&2
      usage >&2
      exit 2
      ;;
  esac
done
if [ -z "$base_model" ]; then
  echo "error: the base model's folder is not named" >&2
  usage >&2
  exit 2
fi
if [ -n "${VENV:-}" ] && [ ! -x "$VENV/bin/python" ]; then
  echo "error: VENV=$VENV: there is no bin/python in it" >&2
  echo "  remedy: name the folder of a virtual environment, or leave VENV out" >&2
  exit 2
fi

mkdir -p "$work"
work=$(cd "$work" && pwd)
source=$work/source
if [ ! -f "$source/.unpacked" ]; then
  mkdir -p "$source"
  tar -xf "$here/source.tar" -C "$source"
  touch "$source/.unpacked"
fi
if [ -z "${VENV:-}" ]; then
  "$source/scripts/dev" setup
  VENV=$source/.venv
fi
# The environment may know another checkout of this product: that of the bundle comes first.
path=$source/shared/src:$source/scripts
for service in trainer quantizer evaluator ranker controller; do path=$path:$source/services/$service/src; done
PYTHONPATH=$path "$VENV/bin/python" "$source/scripts/rebuild.py" --bundle "$here" --work "$work" \
  --base-model "$base_model" ${data:+--data "$data"}
