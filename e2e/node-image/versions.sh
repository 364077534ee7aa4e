# shellcheck shell=bash
# The one Kubernetes version of the local cluster. To be sourced. Three places must say the same minor version: the Go
# module in program/, the pinned kind, and kind's default node image (pkg/apis/config/defaults of that kind).
# shellcheck disable=SC2034 # used by those who source this file
{
  kubernetes_version=v1.37.2
  stock_node_image=kindest/node:v1.37.0
}
