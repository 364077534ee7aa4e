# shellcheck shell=bash disable=SC2034 # read by the scripts that source this
# Which of our packages and which kind of base each image consists of. To be sourced.

declare -A base_kind=([gateway]=python [worker]=worker [operator]=python [rocketmq]=java)
declare -A members=(
  [gateway]="contracts broker gateway"
  [worker]="contracts broker worker"
  [operator]="contracts broker operator"
)
