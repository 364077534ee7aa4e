# shellcheck shell=bash
# The one Kubernetes version of the local cluster; the Go module in program/ must require the same.
# shellcheck disable=SC2034 # used by those who source this file
kubernetes_version=v1.37.2
