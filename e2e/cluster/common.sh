# shellcheck shell=bash
# What the cluster scripts share: names, ranges, and where the KUBECONFIG lies. To be sourced.
repository=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
# shellcheck source=../../scripts/install-common.sh
. "$repository/scripts/install-common.sh"

# shellcheck disable=SC2034 # used by those who source this file
{
  cluster=litevoice
  node_count=3
  state=$cache/cluster
  kubeconfig=$state/kubeconfig
  before=$state/before # what the machine looked like before `up`, for check-clean
  cluster_ranges=(10.244.0.0/16 10.96.0.0/16) # kind's pod and service ranges
}
mkdir -p "$state"

# wants_existing: whether the user brings a cluster; fails on a value that means nothing.
wants_existing() {
  case ${LITEVOICE_CLUSTER:-kind} in
    existing) return 0 ;;
    kind) return 1 ;;
    *) fail "LITEVOICE_CLUSTER is \"$LITEVOICE_CLUSTER\"; it can be: kind (the default), existing" ;;
  esac
}

engine_answers() { timeout 10 docker version --format '{{.Server.Version}}' >/dev/null 2>&1; }

node_containers() { docker ps --all --quiet --filter "label=io.x-k8s.kind.cluster=$cluster"; }
