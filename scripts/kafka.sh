#!/usr/bin/env bash
# Real Apache Kafka for tests and trials: one or three nodes on free loopback ports, in a folder of their own.
#
# A broker named by KAFKA_BOOTSTRAP_SERVERS is used as it is (unless --own); else a container engine that answers;
# else Kafka from Maven Central on a local Java. Started clusters outlive this script, and end by themselves after
# KAFKA_LIFETIME seconds (1800) if nobody stops them. Any number of clusters may run side by side.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
. "$(dirname "${BASH_SOURCE[0]}")/kafka-runtime.sh"

KAFKA_LIFETIME=${KAFKA_LIFETIME:-1800}
START_SECONDS=${KAFKA_START_SECONDS:-90}
KAFKA_JVM_OPTS=${KAFKA_JVM_OPTS:--Xmx512m -XX:+UseSerialGC -XX:TieredStopAtLevel=1}

usage() {
  cat <<'TEXT'
usage: scripts/kafka.sh COMMAND
  start [--nodes 1|3] [--dir DIR] [--own] [--authorizer] [--owner PID]
                          start a cluster; prints KAFKA_BOOTSTRAP_SERVERS=... and KAFKA_DIR=...
  stop DIR                stop it, and remove DIR if start chose it
  env DIR                 the same two lines again
  run [start's options] -- COMMAND...
                          start, run COMMAND with KAFKA_BOOTSTRAP_SERVERS and KAFKA_DIR set, stop; COMMAND's exit code
  kill DIR NODE           SIGKILL one node (1..3)
  node-start DIR NODE     start a killed node again, on its port and with its data
  topic DIR create NAME PARTITIONS REPLICATION [KEY=VALUE...]
  topic DIR grow NAME PARTITIONS | delete NAME | describe NAME | config NAME KEY=VALUE...
  produce DIR TOPIC       write KEY<tab>VALUE lines from stdin with Kafka's own producer
  deny DIR TOPIC          refuse writes to TOPIC (needs --authorizer); allow DIR TOPIC takes that back
  fetch                   only get what a start needs
--own                     a cluster of our own even if KAFKA_BOOTSTRAP_SERVERS is set
--authorizer              one node of our own that can refuse writes
--owner PID               end the cluster when that process is gone
TEXT
}

# --- state of a cluster: DIR/state, and DIR/node-N/{server.properties,pid,log,data} ---

state_write() { printf '%s=%q\n' RUNTIME "$RUNTIME" NODES "$NODES" BOOTSTRAP "$BOOTSTRAP" CHOSEN "$CHOSEN" AUTHORIZER "$AUTHORIZER" PORTS "${PORTS[*]}" >"$DIR/state"; }

state_read() {
  DIR=$(cd "${1:?which DIR?}" 2>/dev/null && pwd) || die "no folder $1"
  [[ -e $DIR/state ]] || die "no cluster was started in $DIR"
  # shellcheck disable=SC1091
  . "$DIR/state"
}

state_print() { printf 'KAFKA_BOOTSTRAP_SERVERS=%s\nKAFKA_DIR=%s\n' "$BOOTSTRAP" "$DIR"; }

ours_only() { [[ $RUNTIME != given ]] || die "$BOOTSTRAP was given by the environment: its nodes are not ours to touch"; }

node_dir() { echo "$DIR/node-$1"; }

# A pid counts only while the process still names our folder: the kernel may have given the number away.
node_alive() {
  local pid
  pid=$(cat "$(node_dir "$1")/pid" 2>/dev/null) || return 1
  pid_is_ours "$pid"
}

pid_is_ours() { { tr '\0' ' ' <"/proc/$1/cmdline"; } 2>/dev/null | grep -qF -- "$DIR"; }

# --- configuration ---

write_log4j() {
  cat >"$DIR/log4j2.xml" <<'XML'
<Configuration status="off">
  <Appenders><Console name="out" target="SYSTEM_OUT"><PatternLayout pattern="%d %p %c{1}: %m%n"/></Console></Appenders>
  <Loggers>
    <Logger name="kafka.server" level="info"/>
    <Root level="warn"><AppenderRef ref="out"/></Root>
  </Loggers>
</Configuration>
XML
}

# write_properties NODE BROKER_PORT CONTROLLER_PORT VOTERS
write_properties() {
  local copies=$((NODES < 3 ? 1 : 3)) in_sync=$((NODES < 3 ? 1 : 2))
  cat <<PROPERTIES
process.roles=broker,controller
node.id=$1
controller.quorum.voters=$4
listeners=PLAINTEXT://127.0.0.1:$2,CONTROLLER://127.0.0.1:$3
advertised.listeners=PLAINTEXT://127.0.0.1:$2
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
log.dirs=$(node_dir "$1")/data
auto.create.topics.enable=false
delete.topic.enable=true
default.replication.factor=$copies
min.insync.replicas=$in_sync
offsets.topic.replication.factor=$copies
offsets.topic.num.partitions=5
transaction.state.log.replication.factor=$copies
transaction.state.log.min.isr=$in_sync
transaction.state.log.num.partitions=5
share.coordinator.state.topic.replication.factor=$copies
share.coordinator.state.topic.min.isr=$in_sync
group.initial.rebalance.delay.ms=0
broker.session.timeout.ms=4000
broker.heartbeat.interval.ms=500
PROPERTIES
  if [[ $AUTHORIZER == yes ]]; then
    # Everybody is User:ANONYMOUS here: all is allowed until a rule names the topic.
    echo "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer"
    echo "allow.everyone.if.no.acl.found=true"
  fi
}

new_uuid() {
  local id=-
  while [[ $id == -* ]]; do id=$(head -c 16 /dev/urandom | base64 | tr '+/' '-_' | cut -c 1-22); done
  echo "$id"
}

configure() {
  local n cluster voters="" brokers="" control=()
  PORTS=()
  rm -rf "$DIR"/node-*
  write_log4j
  for ((n = 1; n <= NODES; n++)); do
    claim_port
    PORTS+=("$CLAIMED_PORT")
    brokers+=${brokers:+,}127.0.0.1:$CLAIMED_PORT
    claim_port
    control+=("$CLAIMED_PORT")
    voters+=${voters:+,}$n@127.0.0.1:$CLAIMED_PORT
  done
  BOOTSTRAP=$brokers
  state_write
  cluster=$(new_uuid)
  for ((n = 1; n <= NODES; n++)); do
    mkdir -p "$(node_dir "$n")"
    write_properties "$n" "${PORTS[n - 1]}" "${control[n - 1]}" "$voters" >"$(node_dir "$n")/server.properties"
    format "$n" "$cluster" &
  done
  for ((n = 1; n <= NODES; n++)); do wait -n || die "kafka's storage could not be formatted: $(tail -n 5 "$DIR"/node-*/format.log)"; done
}

format() {
  kafka_java "$DIR" "sluice-format-$$-$1" -XX:TieredStopAtLevel=1 -XX:+UseSerialGC "-Dlog4j2.configurationFile=$DIR/log4j2.xml" \
    kafka.tools.StorageTool format -t "$2" -c "$(node_dir "$1")/server.properties" >"$(node_dir "$1")/format.log" 2>&1 </dev/null
}

# --- nodes ---

node_launch() {
  local node name
  node=$(node_dir "$1")
  name=sluice-kafka-$$-$1
  echo "$name" >"$node/container"
  # shellcheck disable=SC2086  # options are words
  (
    trap '' HUP
    export -f kafka_java die say
    export RUNTIME KAFKA_CACHE KAFKA_IMAGE JAVA_BIN
    exec setsid bash -c 'kafka_java "$@"' kafka.sh "$DIR" "$name" $KAFKA_JVM_OPTS "-Dlog4j2.configurationFile=$DIR/log4j2.xml" \
      kafka.Kafka "$node/server.properties"
  ) >>"$node/log" 2>&1 </dev/null &
  echo $! >"$node/pid"
  disown $!
}

# Asks a broker for its metadata in Kafka's own protocol (Metadata v4, no topics) and compares the number of live
# brokers in the answer: what a client will see, in a few milliseconds and without a JVM.
knows_brokers() {
  local answer
  answer=$({
    exec 9<>"/dev/tcp/127.0.0.1/$1" || exit 0
    printf '\0\0\0\x0f\0\x03\0\x04\0\0\0\x01\xff\xff\0\0\0\0\0' >&9
    timeout 2 head -c 16 <&9 | od -An -v -tu1 | tr -s ' \n' ' '
  } 2>/dev/null)
  read -ra answer <<<"$answer"
  ((${#answer[@]} == 16 && answer[15] == $2))
}

node_settled() { ! node_alive "$1" || knows_brokers "${ports[$1 - 1]}" "$2"; }

# Waits until every one of the given nodes names LIVE brokers; shows the log of one that ended or did not get there.
nodes_ready() {
  local live=$1 n ports
  shift
  read -ra ports <<<"${PORTS[*]}"
  for n in "$@"; do
    if ! await "$START_SECONDS" node_settled "$n" "$live" || ! node_alive "$n"; then
      say "kafka node $n is not ready; the end of its log:"
      tail -n 20 "$(node_dir "$n")/log" >&2
      return 1
    fi
  done
}

node_signal() {
  local node pid
  node=$(node_dir "$2")
  pid=$(cat "$node/pid" 2>/dev/null) || return 0
  pid_is_ours "$pid" || return 0
  if [[ $1 == KILL && $RUNTIME == container:* ]]; then "${RUNTIME#*:}" kill "$(cat "$node/container")" >/dev/null 2>&1 || true; fi
  kill "-$1" "$pid" 2>/dev/null || true
}

none_alive() {
  local n
  for ((n = 1; n <= NODES; n++)); do node_alive "$n" && return 1; done
  return 0
}

nodes_stop() {
  # The leader among three controllers waits 5 s for a successor that is going down as well: not worth waiting for.
  local n patience=$((NODES == 1 ? 10 : 2))
  for ((n = 1; n <= NODES; n++)); do node_signal TERM "$n"; done
  if ! await "$patience" none_alive; then
    for ((n = 1; n <= NODES; n++)); do node_signal KILL "$n"; done
    await 10 none_alive || die "kafka in $DIR does not end"
  fi
}

# --- commands ---

parse_start() {
  NODES=1 DIR="" OWN=no AUTHORIZER=no OWNER="" CHOSEN=no REST=()
  while (($#)); do
    case $1 in
    --nodes) NODES=${2:?--nodes 1 or 3} && shift ;;
    --dir) DIR=${2:?--dir DIR} && shift ;;
    --own) OWN=yes ;;
    --owner) OWNER=${2:?--owner PID} && shift ;;
    --authorizer) AUTHORIZER=yes OWN=yes ;;
    --) shift && REST=("$@") && break ;;
    *) die "start: unknown option $1" ;;
    esac
    shift
  done
  [[ $NODES == 1 || $NODES == 3 ]] || die "--nodes is 1 or 3, not $NODES"
  # Controllers refuse each other until they have read the rules, which they do only once they agree.
  [[ $NODES == 1 || $AUTHORIZER == no ]] || die "--authorizer works with one node"
}

start() {
  if [[ -z $DIR ]]; then DIR=$(mktemp -d "${TMPDIR:-/tmp}/sluice-kafka.XXXXXX") CHOSEN=yes; fi
  mkdir -p "$DIR" && DIR=$(cd "$DIR" && pwd)
  PORTS=() BOOTSTRAP="" RUNTIME=given
  if [[ $OWN == no && -n ${KAFKA_BOOTSTRAP_SERVERS:-} && $KAFKA_BOOTSTRAP_SERVERS != embedded ]]; then
    BOOTSTRAP=$KAFKA_BOOTSTRAP_SERVERS
    state_write
    return
  fi
  if [[ -e $DIR/state ]]; then (state_read "$DIR" && none_alive) || die "a cluster is running in $DIR"; fi
  RUNTIME=$(kafka_runtime_find) || exit 1
  trap 'nodes_stop; forget' EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM
  local try
  for try in 1 2 3; do
    configure
    start_nodes && break
    # Somebody else took a port between our look and Kafka's bind: take others.
    nodes_stop
    grep -qs -e BindException -e 'Address already in use' "$DIR"/node-*/log && ((try < 3)) || exit 1
  done
  trap - EXIT INT TERM
  setsid bash "${BASH_SOURCE[0]}" watchdog "$DIR" "$OWNER" >/dev/null 2>&1 </dev/null &
  echo $! >"$DIR/watchdog"
  disown $!
}

start_nodes() {
  local n all
  all=$(seq "$NODES")
  for n in $all; do node_launch "$n"; done
  # shellcheck disable=SC2086  # numbers are words
  nodes_ready "$NODES" $all
}

forget() { if [[ $CHOSEN == yes ]]; then rm -rf "$DIR"; else rm -f "$DIR/state" "$DIR/watchdog"; fi; }

stop() {
  state_read "$1"
  local pid
  if [[ $RUNTIME != given ]]; then
    nodes_stop
    pid=$(cat "$DIR/watchdog" 2>/dev/null || true)
    if [[ -n $pid && $pid != "$$" ]] && pid_is_ours "$pid"; then kill -- "-$pid" 2>/dev/null || true; fi
  fi
  forget
}

# Ends a forgotten cluster: after its lifetime, or with the process that it was started for.
watchdog() {
  local owner=${2:-}
  owner_gone() { [[ -n $owner ]] && ! kill -0 "$owner" 2>/dev/null; }
  await "$KAFKA_LIFETIME" owner_gone || true
  stop "$1"
}

# Runs COMMAND with a cluster. Signals go on to it; the cluster stops however it ends.
run() {
  parse_start "$@"
  ((${#REST[@]})) || die "run [--nodes N] -- COMMAND..."
  start
  local code=0
  child=
  trap run_end EXIT
  (
    trap - INT QUIT EXIT
    export KAFKA_BOOTSTRAP_SERVERS=$BOOTSTRAP KAFKA_DIR=$DIR
    exec "${REST[@]}"
  ) <&0 &
  child=$!
  # shellcheck disable=SC2064  # the child as it is now
  for signal in TERM INT HUP; do trap "kill -$signal $child 2>/dev/null || true" "$signal"; done
  # A wait that a trapped signal cut short says so with a code over 128 while the child still lives.
  while :; do
    wait "$child" && code=0 || code=$?
    kill -0 "$child" 2>/dev/null || break
  done
  exit "$code"
}

run_end() {
  if [[ -n $child ]] && kill -TERM "$child" 2>/dev/null; then wait "$child" || true; fi
  stop "$DIR"
}

live_nodes() {
  local n live=0
  for ((n = 1; n <= NODES; n++)); do node_alive "$n" && live=$((live + 1)); done
  echo "$live"
}

node_kill() {
  state_read "$1"
  ours_only
  node_alive "${2:?which NODE?}" || die "node $2 is not running"
  node_signal KILL "$2"
  node_gone() { ! node_alive "$1"; }
  await 10 node_gone "$2" || die "node $2 does not end"
}

node_start() {
  state_read "$1"
  ours_only
  [[ -e $(node_dir "${2:?which NODE?}")/server.properties ]] || die "no node $2 in $DIR"
  ! node_alive "$2" || die "node $2 is running"
  node_launch "$2"
  nodes_ready "$(live_nodes)" "$2"
}

# admin CLASS ARGUMENTS...: one of Kafka's own tools against this cluster, without input unless TOOL_INPUT names a file.
admin() {
  local class=$1
  shift
  if [[ $RUNTIME == given ]]; then RUNTIME=$(kafka_runtime_find) || exit 1; fi
  [[ -e $DIR/log4j2.xml ]] || write_log4j
  (kafka_java "$DIR" "sluice-admin-$$" -XX:TieredStopAtLevel=1 -XX:+UseSerialGC "-Dlog4j2.configurationFile=$DIR/log4j2.xml" "$class" \
    --bootstrap-server "$BOOTSTRAP" "$@") <"${TOOL_INPUT:-/dev/null}"
}

produce() {
  state_read "$1"
  TOOL_INPUT=/dev/stdin admin org.apache.kafka.tools.ConsoleProducer --topic "${2:?which TOPIC?}" --property parse.key=true
}

topic() {
  state_read "$1"
  local what=${2:-} name=${3:?which topic?} tool=org.apache.kafka.tools.TopicCommand pairs=() pair
  shift 3
  case $what in
  create)
    local partitions=${1:?how many PARTITIONS?} copies=${2:?which REPLICATION?}
    shift 2
    for pair in "$@"; do pairs+=(--config "$pair"); done
    admin $tool --create --topic "$name" --partitions "$partitions" --replication-factor "$copies" "${pairs[@]}"
    ;;
  grow) admin $tool --alter --topic "$name" --partitions "${1:?how many PARTITIONS?}" ;;
  delete) admin $tool --delete --topic "$name" ;;
  describe) admin $tool --describe --topic "$name" ;;
  config) admin kafka.admin.ConfigCommand --alter --entity-type topics --entity-name "$name" --add-config "$(IFS=,; echo "${*:?KEY=VALUE}")" ;;
  *) die "topic DIR create|grow|delete|describe|config" ;;
  esac
}

# Refused writes answer TOPIC_AUTHORIZATION_FAILED; the topic stays visible.
deny() {
  state_read "$1"
  [[ $AUTHORIZER == yes ]] || die "the cluster in $DIR was started without --authorizer"
  local acl=org.apache.kafka.tools.AclCommand topic=${3:?which TOPIC?}
  if [[ $2 == allow ]]; then
    admin $acl --remove --force --topic "$topic"
  else
    admin $acl --add --topic "$topic" --allow-principal User:ANONYMOUS --operation Describe --operation DescribeConfigs --operation Read
    admin $acl --add --topic "$topic" --deny-principal User:ANONYMOUS --operation Write
  fi
}

command=${1:-help}
shift || true
case $command in
start)
  parse_start "$@"
  start
  state_print
  ;;
stop) stop "$@" ;;
env)
  state_read "$@"
  state_print
  ;;
run) run "$@" ;;
kill) node_kill "$@" ;;
node-start) node_start "$@" ;;
topic) topic "$@" ;;
produce) produce "$@" ;;
deny | allow) deny "${1:-}" "$command" "${2:-}" ;;
fetch) kafka_runtime_find ;;
watchdog) watchdog "$@" ;;
help | -h | --help) usage ;;
*) usage >&2 && exit 2 ;;
esac
