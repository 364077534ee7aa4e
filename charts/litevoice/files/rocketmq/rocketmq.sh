#!/usr/bin/env bash
# Runs one part of a single-node RocketMQ in a container with a read-only root file system: writes the part's
# configuration from the environment, waits for what the part needs, then becomes the Java process.
set -euo pipefail

usage() {
  cat <<'TEXT'
usage: rocketmq.sh namesrv | broker | proxy     run that part until SIGTERM
       rocketmq.sh check namesrv|broker|proxy   exit 0 when that part really serves (for probes)
       rocketmq.sh --help

Environment (default):
  POD_IP               address that the broker registers under (the container's own)
  ROCKETMQ_STORE       folder for messages and topics, kept over restarts (/var/lib/rocketmq)
  ROCKETMQ_LIB         folder with RocketMQ's jars (/opt/rocketmq/lib, else $ROCKETMQ_HOME/lib)
  ROCKETMQ_HEAP        Java heap, e.g. 512m (namesrv 128m, broker 512m, proxy 384m)
  ROCKETMQ_LOG_LEVEL   DEBUG, INFO, WARN or ERROR (WARN)
TEXT
}

files=$(cd "$(dirname "$0")" && pwd)
name_server=127.0.0.1:9876
broker=127.0.0.1:10911
store=${ROCKETMQ_STORE:-/var/lib/rocketmq}

say() { printf '%s rocketmq.sh: %s\n' "$(date -u +%FT%TZ)" "$*" >&2; }
fail() { say "error: $*"; exit 1; }

own_address() {
  local addresses
  addresses=${POD_IP:-$(hostname -i)}
  echo "${addresses%% *}"
}

# ask ADDRESS CODE [BODY]: a remoting request (int32 length, int32 header length, JSON header, body) and its answer, whose
# header is JSON, too. No Java process for this: a probe must be cheap.
ask() {
  local header="{\"code\":$2,\"language\":\"CPP\",\"version\":0,\"opaque\":1,\"flag\":0,\"extFields\":{}}" body=${3:-} length
  exec 3<>"/dev/tcp/${1%:*}/${1#*:}"
  # shellcheck disable=SC2059 # the format is the binary prefix
  printf "\\0\\0\\0\\x$(printf %02x $((4 + ${#header} + ${#body})))\\0\\0\\0\\x$(printf %02x ${#header})%s%s" "$header" "$body" >&3
  length=$(head -c 4 <&3 | od -An -tu1 | { read -r a b c d && echo $((a << 24 | b << 16 | c << 8 | d)); })
  head -c "$length" <&3 | tr -d '\0'
  exec 3>&-
}

# Which brokers there are.
cluster_info() { ask "$name_server" 106; }

# At its start a broker registers only when its link to the name server is there within milliseconds, and 10 s later
# otherwise. It does so at once when a setting is sent again, unchanged.
register_broker() { ask "$broker" 25 brokerPermission=6; }

# A gRPC server answers the HTTP/2 preface with a SETTINGS frame (type 4); an open port alone proves nothing.
speaks_http2() {
  local frame_type
  exec 3<>"/dev/tcp/127.0.0.1/$1"
  printf 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0' >&3
  frame_type=$(head -c 9 <&3 | od -An -tu1 | awk '{ print $4 }')
  exec 3>&-
  [ "$frame_type" = 4 ]
}

export -f ask cluster_info register_broker speaks_http2
export name_server broker

check() {
  case ${1:-} in
    namesrv) timeout 5 bash -c cluster_info 2>/dev/null | grep -q brokerAddrTable ;;
    broker) timeout 5 bash -c cluster_info 2>/dev/null | grep -qF "\"$(own_address):10911\"" ;;
    proxy) timeout 5 bash -c 'speaks_http2 8081' 2>/dev/null ;;
    *) fail "check: one of namesrv, broker, proxy, got '${1:-}'" ;;
  esac
}

wait_for() {
  local waited=0
  until check "$1"; do
    [ $((waited % 10)) = 0 ] && say "waiting until the $1 answers (${waited} s)"
    [ "$1" != broker ] || timeout 5 bash -c register_broker >/dev/null 2>&1 || true
    waited=$((waited + 1))
    sleep 1
  done
}

find_jars() {
  local folder
  for folder in "${ROCKETMQ_LIB:-}" /opt/rocketmq/lib "${ROCKETMQ_HOME:-}/lib"; do
    if compgen -G "$folder/rocketmq-broker-*.jar" >/dev/null; then
      echo "$folder"
      return
    fi
  done
  fail "no RocketMQ jars that user $(id -u) can read in ROCKETMQ_LIB, /opt/rocketmq/lib or ROCKETMQ_HOME/lib"
}

# run PART HEAP MAIN_CLASS ARGUMENTS... : home is the part's scratch folder. Nobody asks name server and broker for TLS, and
# the keys of their TLS servers would take seconds of each start.
run() {
  local part=$1 heap=${ROCKETMQ_HEAP:-$2} lib
  lib=$(find_jars)
  # Read by Java 9 and later only, so that an image with Java 8 works too.
  export JDK_JAVA_OPTIONS="--add-exports=java.base/jdk.internal.ref=ALL-UNNAMED --add-exports=java.base/jdk.internal.misc=ALL-UNNAMED --add-opens=java.base/java.nio=ALL-UNNAMED --add-opens=java.base/sun.nio.ch=ALL-UNNAMED"
  export ROCKETMQ_HOME=$home
  say "starting the $part"
  exec java "-Xms$heap" "-Xmx$heap" "-XX:MaxDirectMemorySize=$heap" -XX:+UseSerialGC -XX:TieredStopAtLevel=1 \
    -XX:-UsePerfData -XX:+ExitOnOutOfMemoryError "-Duser.home=$home" "-Djava.io.tmpdir=$home/tmp" \
    "-Drmq.logback.configurationFile=$files/logback.xml" \
    -Dtls.server.mode=disabled -Drocketmq.broker.diskSpaceWarningLevelRatio=0.97 -Drocketmq.broker.diskSpaceCleanForciblyRatio=0.95 \
    -cp "$lib/*" "${@:3}"
}

make_home() {
  home=${TMPDIR:-/tmp}/rocketmq-$1
  rm -rf "$home" # a killed broker leaves its unpacked RocksDB library there
  mkdir -p "$home/conf" "$home/tmp"
}

run_namesrv() {
  printf 'listenPort=9876\nkvConfigPath=%s/kvConfig.json\nconfigStorePath=%s/namesrv.properties\n' "$home" "$home" >"$home/conf/namesrv.conf"
  run namesrv 128m org.apache.rocketmq.namesrv.NamesrvStartup -c "$home/conf/namesrv.conf"
}

run_broker() {
  if [ ! -d "$store" ] || [ ! -w "$store" ]; then
    fail "ROCKETMQ_STORE: $store is no writable folder for user $(id -u)"
  fi
  {
    cat "$files/broker.conf"
    printf 'namesrvAddr=%s\nbrokerIP1=%s\nlistenPort=10911\nstorePathRootDir=%s\nstorePathCommitLog=%s/commitlog\n' \
      "$name_server" "$(own_address)" "$store" "$store"
  } >"$home/conf/broker.conf"
  wait_for namesrv
  run broker 512m org.apache.rocketmq.broker.BrokerStartup -n "$name_server" -c "$home/conf/broker.conf"
}

run_proxy() {
  {
    printf '{"rocketMQClusterName": "DefaultCluster", "proxyMode": "cluster", "namesrvAddr": "%s",\n' "$name_server"
    printf ' "localServeAddr": "%s", "grpcServerPort": 8081, "remotingListenPort": 8080,\n' "$(own_address)"
    sed '1s/^{//' "$files/rmq-proxy.json"
  } >"$home/conf/rmq-proxy.json"
  wait_for broker # a proxy that meets no broker ends at once
  run proxy 384m org.apache.rocketmq.proxy.ProxyStartup -pm cluster -n "$name_server" -pc "$home/conf/rmq-proxy.json"
}

case ${1:-} in
  namesrv | broker | proxy)
    make_home "$1"
    "run_$1"
    ;;
  check) check "${2:-}" ;;
  --help | -h) usage ;;
  *)
    usage >&2
    exit 2
    ;;
esac
