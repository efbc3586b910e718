#!/usr/bin/env bash
# Prints the path of libfaketime, which gives a process a clock of its own; installs it where it is missing.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

found() { compgen -G '/usr/lib*/*/faketime/libfaketimeMT.so.1' || compgen -G '/usr/lib*/faketime/libfaketimeMT.so.1'; }

found >/dev/null || apt_install libfaketime
found | head -n 1
