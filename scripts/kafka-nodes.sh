# shellcheck shell=bash
# The nodes of one cluster: what is written down about them in DIR, their configuration, their processes.
# Sourced by kafka.sh, which holds the commands; a cluster is the variables that state_write names.

START_SECONDS=${KAFKA_START_SECONDS:-90}
KAFKA_JVM_OPTS=${KAFKA_JVM_OPTS:--Xmx512m -XX:+UseSerialGC -XX:TieredStopAtLevel=1}

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

node_alive() {
  local pid
  pid=$(cat "$(node_dir "$1")/pid" 2>/dev/null) || return 1
  pid_is_ours "$pid"
}

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

nodes_start() {
  local n all
  all=$(seq "$NODES")
  for n in $all; do node_launch "$n"; done
  # shellcheck disable=SC2086  # numbers are words
  nodes_ready "$NODES" $all
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
