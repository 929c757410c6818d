#!/usr/bin/env bash
# Prints docs/benchmarks.md's tables: ratios first, since they mean the same on every machine. It builds what it measures
# and makes its inputs, all in target/, needs no network, and takes some minutes.
#
#   benches/run.sh                                      this source tree
#   PROGRAM=/path benches/run.sh                        another binary
#   BEFORE=/path benches/run.sh                         this source tree and an older binary, in turn, in two columns
set -euo pipefail
cd "$(dirname "$0")/.."
export LC_ALL=C

daemons=$PWD/target/containerd

note() { echo "benches/run.sh: $*" >&2; }
need() { # need COMMAND PACKAGE
  command -v "$1" >/dev/null || { note "$1 is missing (package $2)"; exit 1; }
}
need cargo cargo
need rustc rustc
need awk mawk
need cp coreutils
need sync coreutils

time=/usr/bin/time
[ -x "$time" ] || { note "no peak memory: $time is missing (package time)"; time=; }
valgrind=$(command -v valgrind || { note "no instructions: valgrind is missing (package valgrind)"; })

mkdir -p target
work=$(mktemp -d "$PWD/target/benches.XXXXXX")
trap 'rm -rf "$work"' EXIT
rustc --edition 2024 -O -o "$work/measure" benches/tools/measure.rs
if [ -z "${PROGRAM:-}" ]; then
  cargo build --locked --quiet --profile dist
  PROGRAM=${CARGO_TARGET_DIR:-target}/dist/containerd-registry-migrate
fi
programs=(${BEFORE:+"$(realpath "$BEFORE")"} "$(realpath "$PROGRAM")")

# ---- Inputs ---------------------------------------------------------------------------------------------------------

# A node with that many mirrors, each with a TLS table and a CA file of its own.
mirrors() { # mirrors NODE COUNT
  local etc=$1/etc/containerd ca name plugin='plugins."io.containerd.grpc.v1.cri".registry'
  ca=$(<benches/ca.pem)
  mkdir -p "$etc/ca"
  {
    printf 'version = 2\n'
    for ((i = 1; i <= $2; i++)); do
      printf -v name '%05d.example' "$i"
      printf '\n[%s.mirrors."registry-%s"]\n' "$plugin" "$name"
      printf '  endpoint = ["https://mirror-%s"]\n' "$name"
      printf '[%s.configs."mirror-%s".tls]\n' "$plugin" "$name"
      printf '  ca_file = "/etc/containerd/ca/%s.crt"\n' "$name"
      printf '%s\n' "$ca" >"$etc/ca/$name.crt"
    done
  } >"$etc/config.toml"
}

# Files in the certs directory where only directories are looked up.
stray_files() { # stray_files NODE COUNT
  local certs=$1/etc/containerd/certs.d
  mkdir -p "$certs"
  for ((i = 1; i <= $2; i++)); do printf 'stray\n' >"$certs/stray-$i.txt"; done
}

# Directories with hosts files of registries that config.toml does not name.
stray_directories() { # stray_directories NODE COUNT
  local certs=$1/etc/containerd/certs.d
  (mkdir -p "$certs" && cd "$certs" && eval "mkdir other-{1..$2}.example")
  for ((i = 1; i <= $2; i++)); do
    printf 'server = "https://other-%s.example"\n\n[host."https://cache-%s.example"]\n' "$i" "$i" \
      >"$certs/other-$i.example/hosts.toml"
  done
}

ordinary=$work/ordinary
mkdir -p "$ordinary/etc/containerd"
cp benches/config.toml "$ordinary/etc/containerd/config.toml"
for count in 10 100 1000 2000 10000; do mirrors "$work/mirrors-$count" "$count"; done
for count in 1000 2000; do
  cp -r "$work/mirrors-$count" "$work/files-$count"
  stray_files "$work/files-$count" "$count"
  cp -r "$work/mirrors-$count" "$work/directories-$count"
  stray_directories "$work/directories-$count" "$count"
done

# ---- Measuring ------------------------------------------------------------------------------------------------------

columns=${#programs[@]}
ratios=()
numbers=()
declare -A processor

# Sets `lines` to a line for each program with some arguments, then one for the last command, if there is one.
measure() { # measure RUNS SETUP ARGUMENTS [-- COMMAND...]
  local runs=$1 setup=$2 arguments=() commands=() answer
  shift 2
  while [ "${1:---}" != -- ]; do arguments+=("$1") && shift; done
  for program in "${programs[@]}"; do commands+=(-- "$program" "${arguments[@]}"); done
  answer=$("$work/measure" "$runs" "$setup" "${commands[@]}" "$@")
  mapfile -t lines <<<"$answer"
}

# A row for a ratio: each program's time for some arguments to the time of another command.
against() { # against NAME LIMIT RUNS SETUP ARGUMENTS -- COMMAND...
  local row="| $1 | $2 |"
  measure "${@:3}"
  for ((i = 0; i < columns; i++)); do row+=" $(awk '{ printf "%.3g", $2 }' <<<"${lines[i]}") |"; done
  ratios+=("$row")
}

# A row for time, processor time and peak memory of `plan` for a node.
numbers() { # numbers NAME LIMIT RUNS NODE
  local row="| $1 | $2 |" peak
  measure "$3" "" plan --existing keep --root "$4"
  for ((i = 0; i < columns; i++)); do
    processor["${programs[i]} $4"]=$(processor_time "$3" "${programs[i]}" plan --existing keep --root "$4")
    peak=$([ -z "$time" ] || awk 'END { printf ", %.1f MiB", $1 / 1024 }' "$work/peak")
    row+=" $(milliseconds "${lines[i]}") ($(milliseconds "${processor["${programs[i]} $4"]}"))$peak |"
  done
  numbers+=("$row")
}

# The seconds of processor time that a command needs at least, in a few runs: they tell more than a clock on a busy machine.
# Its peak memory goes to a file.
processor_time() { # processor_time RUNS COMMAND...
  local TIMEFORMAT='%U %S' command=("${@:2}")
  [ -z "$time" ] || command=("$time" -f %M -o "$work/peak" "${command[@]}")
  for ((run = 0; run < $1; run++)); do
    { time "${command[@]}" >/dev/null 2>&1 || true; } 2>&1
  done | awk 'NR == 1 || $1 + $2 < least { least = $1 + $2 } END { print least }'
}

# A row for a ratio of processor times that `numbers` has measured for two nodes.
growth() { # growth NAME LIMIT NODE NODE
  local row="| $1 | $2 |"
  for program in "${programs[@]}"; do
    row+=" $(awk -v this="${processor["$program $3"]}" -v other="${processor["$program $4"]}" \
      'BEGIN { printf "%.3g", this / other }') |"
  done
  ratios+=("$row")
}

milliseconds() { awk '{ printf "%.*f ms", $1 < 0.1 ? 1 : 0, $1 * 1000 }' <<<"$1"; }

# The same number for a command that is no program of ours, in each column.
reference() { # reference NAME LINE
  local row="| $1 | |"
  for ((i = 0; i < columns; i++)); do row+=" $(milliseconds "$2") |"; done
  numbers+=("$row")
}

numbers "\`plan\`, ordinary node" "" 50 "$ordinary"
against "\`plan\` of an ordinary node : \`cat\` of its config.toml" 2 100 "" \
  plan --root "$ordinary" -- cat "$ordinary/etc/containerd/config.toml"
reference "\`cat\`" "${lines[columns]}"
found=
for daemon in "$daemons"/*/usr/bin/containerd; do
  version=$("$daemon" --version 2>/dev/null | grep -oE '[0-9]+\.[0-9]+\.[0-9]+' | head -n 1) || continue
  found=1
  against "\`plan\` of an ordinary node : \`containerd config dump\`, $version" "0.067 (1/15)" 20 "" \
    plan --root "$ordinary" -- "$daemon" --config "$ordinary/etc/containerd/config.toml" config dump
  reference "\`containerd config dump\`, $version" "${lines[columns]}"
done
[ -n "$found" ] || note "no comparison with containerd: tests/containerd.sh gets its daemons"

for count in 10 100 1000; do numbers "\`plan\`, $count mirrors" "" 10 "$work/mirrors-$count"; done
numbers "\`plan\`, 10000 mirrors" "500 ms, 100 MiB" 3 "$work/mirrors-10000"
for count in 1000 2000; do
  numbers "\`plan\`, $count mirrors, as many stray files" "" 1 "$work/files-$count"
  numbers "\`plan\`, $count mirrors, as many stray directories" "" 1 "$work/directories-$count"
done
growth "\`plan\` of 10000 mirrors : of 1000" 11 "$work/mirrors-10000" "$work/mirrors-1000"
growth "\`plan\` of 2000 mirrors and 2000 stray files : of half as many" 2.2 "$work/files-2000" "$work/files-1000"
growth "\`plan\` of 2000 mirrors and 2000 stray directories : of half as many" 2.2 \
  "$work/directories-2000" "$work/directories-1000"

# What `apply` writes, to be copied.
cp -r "$work/mirrors-1000" "$work/written"
"${programs[columns - 1]}" apply --yes --root "$work/written" >/dev/null 2>&1 || { note "apply failed: exit status $?"; exit 1; }
reset="cd '$work' && rm -rf applied copied && cp -r mirrors-1000 applied && sync -f ."
against "\`apply\` of 1000 hosts files : \`cp -r\` of them and \`sync -f\`" 2 3 "$reset" \
  apply --yes --root "$work/applied" \
  -- sh -c "cp -r '$work/written/etc/containerd/certs.d' '$work/copied' && sync -f '$work/copied'"
row="| \`apply\` of 1000 hosts files | |"
for ((i = 0; i < columns; i++)); do row+=" $(milliseconds "${lines[i]}") |"; done
numbers+=("$row")
reference "\`cp -r\` of them and \`sync -f\`" "${lines[columns]}"

# The instructions of a run, for each program.
instructions() { # instructions NAME LIMIT ARGUMENTS...
  local row="| instructions: $1 | $2 |"
  for program in "${programs[@]}"; do
    "$valgrind" --tool=callgrind --callgrind-out-file=/dev/null --log-file="$work/instructions" \
      "$program" "${@:3}" >/dev/null 2>&1 || true
    row+=" $(awk '/Collected/ { printf "%.1f million", $NF / 1e6 }' "$work/instructions") |"
  done
  numbers+=("$row")
}
if [ -n "$valgrind" ]; then
  instructions "\`plan\`, ordinary node" "6 million" plan --root "$ordinary"
  instructions "\`--version\`" "" --version
fi

# ---- Report ---------------------------------------------------------------------------------------------------------

cpu=$(awk -F ': ' '/^model name/ { print $2; exit }' /proc/cpuinfo)
memory=$(awk '/^MemTotal/ { printf "%.0f GiB", $2 / 1048576 }' /proc/meminfo)
head="| | at most | $([ "$columns" = 1 ] || echo "before | ")$([ "$columns" = 1 ] && echo measured || echo after) |"
line="|---|---|$(printf -- '--:|%.0s' "${programs[@]}")"
cat <<REPORT
Measured on $(date -u +%F): $(nproc) × ${cpu:-processor}, $memory, Linux $(uname -r).
$(for program in "${programs[@]}"; do echo "$("$program" --version) ($(stat -c %s "$program" | awk '{ printf "%.1f MB", $1 / 1e6 }'))."; done)

### Ratios

$head
$line
$(printf '%s\n' "${ratios[@]}")

### Numbers

$head
$line
$(printf '%s\n' "${numbers[@]}")
REPORT
