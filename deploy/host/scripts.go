package host

import "github.com/joelhooks/shipit/deploy/host/machine"

// installScript replaces the unit $1 by stdin, with a rename. $2 is the copy of the unit;
// what it replaces is saved beside it, as .previous each time, and as .before if shipit
// did not install it. $3 is the marker, $4 the release directory, $5 the link, $6 a folder
// for logs, $7 the user who writes them, $8 the size of stdin: input that ends early is
// not installed. $9 is whether the unit before was enabled and running.
const installScript = machine.FencedScript + `set -e
unit=$1 copy=$2 marker=$3 dir=$4 link=$5 logs=$6 user=$7 size=$8 before=$9
mkdir -p "${unit%/*}" "${copy%/*}" "${marker%/*}"
echo "$dir" >"$marker"
temp=$unit.shipit-new
trap 'rm -f "$temp"' EXIT
cat >"$temp"
fenced || exit
[ "$(wc -c <"$temp")" -eq "$size" ] || { echo "the unit ended early" >&2; exit 1; }
chmod 0644 "$temp"
if [ -e "$unit" ]; then
  if [ ! -e "$copy" ] && [ ! -e "$copy.before" ]; then
    printf '%s\n' "$before" >"$copy.before.state"
    cp -p "$unit" "$copy.before"
  fi
  if ! cmp -s "$unit" "$temp"; then cp -p "$unit" "$copy.previous"; fi
fi
cp "$temp" "$copy"
mv -f "$temp" "$unit"
if [ -n "$logs" ]; then
  mkdir -p "$logs"
  if [ -n "$user" ] && [ "$(id -u)" -eq 0 ]; then chown "$user" "$logs"; fi
fi
set -- "$dir" "$link"
` + linkScript

// linkScript points the link $2 to $1, atomically.
const linkScript = `mkdir -p "${2%/*}" && rm -f "$2.new" && ln -s "$1" "$2.new" && { mv -fT "$2.new" "$2" 2>/dev/null || mv -fh "$2.new" "$2"; }`

// activatedScript writes stdin to the activation file $1 and removes the marker $2 of the
// switch.
const activatedScript = machine.FencedScript + `set -e
mkdir -p "${1%/*}"
cat >"$1.new"
fenced || exit
mv -f "$1.new" "$1"
rm -f "$2"`
