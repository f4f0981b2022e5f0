#!/usr/bin/env sh
# Install what the interop tests need: $PYTHON if set, else the checkout's .venv, else python3.
here=$(cd "$(dirname "$0")" && pwd)
venv="$here/../../.venv/bin/python"
[ -x "$venv" ] || venv=python3
exec "${PYTHON:-$venv}" "$here/install.py"
