package host

import "github.com/joelhooks/shipit/deploy/host/machine"

// installScript puts stdin in place of the unit $1 by a rename. $2 is our copy
// of the last one; what was there before is kept beside it: .before the first
// time, .previous each time. $3 is the marker, $4 the release, $5 the link, $6 a
// folder for logs, $7 the user who writes them, $8 the size of stdin, so that a
// connection that ends early installs nothing, $9 what the service did before.
const installScript = machine.FencedScript + `set -e
unit=$1 kept=$2 marker=$3 dir=$4 link=$5 logs=$6 user=$7 size=$8 before=$9
mkdir -p "${unit%/*}" "${kept%/*}" "${marker%/*}"
echo "$dir" >"$marker"
temp=$unit.shipit-new
trap 'rm -f "$temp"' EXIT
cat >"$temp"
fenced || exit
[ "$(wc -c <"$temp")" -eq "$size" ] || { echo "the unit ended early" >&2; exit 1; }
chmod 0644 "$temp"
if [ -e "$unit" ]; then
  if [ ! -e "$kept" ] && [ ! -e "$kept.before" ]; then
    printf '%s\n' "$before" >"$kept.before.state"
    cp -p "$unit" "$kept.before"
  fi
  if ! cmp -s "$unit" "$temp"; then cp -p "$unit" "$kept.previous"; fi
fi
cp "$temp" "$kept"
mv -f "$temp" "$unit"
if [ -n "$logs" ]; then
  mkdir -p "$logs"
  if [ -n "$user" ] && [ "$(id -u)" -eq 0 ]; then chown "$user" "$logs"; fi
fi
set -- "$dir" "$link"
` + linkScript

// linkScript makes the link $2 lead to $1, in one step.
const linkScript = `mkdir -p "${2%/*}" && rm -f "$2.new" && ln -s "$1" "$2.new" && { mv -fT "$2.new" "$2" 2>/dev/null || mv -fh "$2.new" "$2"; }`

// activatedScript keeps stdin, what was activated, in the file $1 and ends the
// switch by removing its marker $2.
const activatedScript = machine.FencedScript + `set -e
mkdir -p "${1%/*}"
cat >"$1.new"
fenced || exit
mv -f "$1.new" "$1"
rm -f "$2"`
