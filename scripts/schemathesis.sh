#!/usr/bin/env bash
# Schemathesis against a running gateway: what GET /openapi.json describes is what is answered, whatever is sent.
#
# Examples, coverage, fuzzing and stateful phases, all checks; scripts/schemathesis/schemathesis.toml says how, and
# hooks.py beside it what a schema cannot say. The seed is fixed and printed: SEED=N for another, EXAMPLES=N for more
# than 30 of each operation. Schemathesis comes from PyPI into .cache/python. Loopback only; 20 s of a processor, and four
# minutes at most (TIME_LIMIT).
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
. "$(dirname "${BASH_SOURCE[0]}")/trial.sh"

SEED=${SEED:-1} EXAMPLES=${EXAMPLES:-30} TIME_LIMIT=${TIME_LIMIT:-240}

python_env
if [[ ${1:-} == --fetch ]]; then exit; fi
trial_start
echo "schemathesis: seed $SEED, $EXAMPLES examples an operation"
export PYTHONPATH=$ROOT/scripts/schemathesis PYTHONDONTWRITEBYTECODE=1
cd "$TRIAL_DIR" # for what it writes
code=0
timeout "$TIME_LIMIT" "$PYTHON_ENV/bin/schemathesis" --config-file "$PYTHONPATH/schemathesis.toml" run \
  "http://$HTTP/openapi.json" --seed "$SEED" --max-examples "$EXAMPLES" --no-color || code=$?
((code != 124)) || die "not done after $TIME_LIMIT s"
((code == 0)) || die "failed; again with: SEED=$SEED EXAMPLES=$EXAMPLES scripts/schemathesis.sh"
trial_stop
