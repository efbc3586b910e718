# shellcheck shell=bash
# Where Kafka's classes come from: a container engine that really answers, else Maven Central and a local Java.
# Sourced by kafka.sh. Gives one function, kafka_java, so that nothing above knows which of the two it is.

KAFKA_VERSION=4.1.1
KAFKA_IMAGE=${KAFKA_IMAGE:-apache/kafka:$KAFKA_VERSION}
KAFKA_CACHE=$ROOT/.cache/kafka-$KAFKA_VERSION
JAVA_BIN=${JAVA_HOME:+$JAVA_HOME/bin/}java

# Prints `container:ENGINE` or `jvm` and makes sure that it can run. KAFKA_RUNTIME=jvm passes over the engines.
kafka_runtime_find() {
  local engine
  if [[ ${KAFKA_RUNTIME:-} != jvm ]] && engine=$(engine_find "$KAFKA_IMAGE"); then
    echo "container:$engine"
    return
  fi
  java_ready
  jars_ready
  echo jvm
}

java_major() { "$JAVA_BIN" -version 2>&1 | sed -nE 's/.*version "([0-9]+).*/\1/p' | head -n 1; }

# Kafka 4 needs Java 17 or later.
java_ready() {
  local major package
  major=$(java_major) || major=
  ((${major:-0} >= 17)) && return
  have apt-get || die "Kafka needs a Java runtime, 17 or later"
  package=openjdk-17-jre-headless
  apt-cache show "$package" >/dev/null 2>&1 || as_root apt-get update -qq >&2 || true
  apt-cache show "$package" >/dev/null 2>&1 || package=openjdk-21-jre-headless
  apt_install "$package"
  major=$(java_major)
  ((${major:-0} >= 17)) || die "java is version ${major:-unknown} after installing $package; Kafka needs 17"
}

# The jars, downloaded once into the project's cache. The marker is written last, under a lock, so that neither
# a broken download nor one that still runs is taken for a whole one.
jars_ready() {
  [[ -e $KAFKA_CACHE/complete ]] && return
  mkdir -p "$ROOT/.cache"
  (
    exec 8>"$ROOT/.cache/kafka.lock"
    flock 8
    [[ -e $KAFKA_CACHE/complete ]] && exit 0
    need mvn maven
    rm -rf "$KAFKA_CACHE"
    mkdir -p "$KAFKA_CACHE"
    write_pom >"$KAFKA_CACHE/pom.xml"
    say "downloading Apache Kafka $KAFKA_VERSION with mvn"
    mvn -q -B -f "$KAFKA_CACHE/pom.xml" dependency:copy-dependencies -DoutputDirectory="$KAFKA_CACHE/libs" \
      >"$KAFKA_CACHE/mvn.log" 2>&1 || {
      tail -n 20 "$KAFKA_CACHE/mvn.log" >&2
      die "mvn could not download Kafka; without it, set KAFKA_BOOTSTRAP_SERVERS to a broker of yours"
    }
    compgen -G "$KAFKA_CACHE/libs/kafka_2.13-$KAFKA_VERSION.jar" >/dev/null || die "mvn left no kafka jar in $KAFKA_CACHE"
    touch "$KAFKA_CACHE/complete"
  ) || exit 1
}

write_pom() {
  cat <<POM
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>sluice</groupId><artifactId>kafka</artifactId><version>1</version>
  <dependencies>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>$KAFKA_VERSION</version></dependency>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka-tools</artifactId><version>$KAFKA_VERSION</version></dependency>
    <dependency><groupId>org.apache.logging.log4j</groupId><artifactId>log4j-slf4j-impl</artifactId><version>2.24.3</version></dependency>
  </dependencies>
</project>
POM
}

# kafka_java DIR NAME OPTIONS_AND_CLASS...: replaces this shell by a JVM with Kafka on its class path. NAME is the
# container's, so that it can be killed. RUNTIME says which kind; DIR is the only folder that it sees.
kafka_java() {
  local dir=$1 name=$2 user=(--user "$EUID:$(id -g)")
  shift 2
  # Podman without root gives the container other users' numbers unless told to keep ours.
  if [[ $RUNTIME == container:podman && $EUID != 0 ]]; then user+=(--userns keep-id); fi
  case $RUNTIME in
  jvm) exec "$JAVA_BIN" -cp "$KAFKA_CACHE/libs/*" "$@" ;;
  container:*)
    exec "${RUNTIME#*:}" run --rm -i --init --name "$name" --network host "${user[@]}" -v "$dir:$dir" \
      --entrypoint java "$KAFKA_IMAGE" -cp "/opt/kafka/libs/*" "$@"
    ;;
  *) die "unknown runtime '$RUNTIME'" ;;
  esac
}
