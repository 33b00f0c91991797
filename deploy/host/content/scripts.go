package content

// The scripts are POSIX sh. What varies comes as $1, $2, …: nothing is pasted
// into them. Paths are absolute, so none is taken for an option.

// Exit codes of scripts that say what they found.
const (
	exitAbsent  = 64
	exitDamaged = 65
	exitMounted = 66
)

// mountScript is for scripts that change folders. mounts prints the mount points
// at or below the folder $1; the kernel writes white space and backslashes in
// them as octal numbers. unmounted ends the script with exitMounted if there are
// any, and says so as Mount=PATH.
const mountScript = `mounts() {
  base=$(cd "$1" 2>/dev/null && pwd -P) || return 0
  if [ -r /proc/self/mountinfo ]; then
    while read -r _ _ _ _ at _; do printf '%s\n' "$at"; done </proc/self/mountinfo
  else
    mount | sed -n 's/^.* on \(\/.*\) (.*)$/\1/p'
  fi | while read -r at; do
    case "$at" in *\\*) at=$(printf '%b' "$at") ;; esac
    case "$at" in "$base" | "$base"/*) printf '%s\n' "$at" ;; esac
  done
}
unmounted() {
  if [ -L "$1" ]; then return 0; fi
  found=$(mounts "$1")
  if [ -n "$found" ]; then
    printf '%s\n' "$found" | sed 's/^/Mount=/'
    exit 66
  fi
}
`

// discardScript takes the folder $1 apart, writable or not. It follows no link,
// changes no mode of a file (which may have another name elsewhere), and crosses
// no mount and no device.
const discardScript = mountScript + `discard() {
  if [ -L "$1" ] || [ ! -d "$1" ]; then
    rm -f "$1"
    return 0
  fi
  unmounted "$1"
  find "$1" -xdev -type d ! -perm -0700 -exec chmod u+rwx {} +
  find "$1" -xdev ! -type d -exec rm -f {} +
  find "$1" -xdev -depth -type d -exec rmdir {} +
}
`

// sweepScript makes the folders below the root $1 and removes what runs other
// than $2 left in staging: the lock of the ledger excludes that two runs work at once.
const sweepScript = `set -e
` + discardScript + `
mkdir -p "$1/releases" "$1/staging" "$1/current" "$1/units" "$1/switching"
for old in "$1"/staging/*; do
  case "$old" in
  *".$2."*) ;;
  *) discard "$old" ;;
  esac
done`

// removeScript removes the folder $1, read-only or not.
const removeScript = `set -e
` + discardScript + `
discard "$1"`

// unpackScript reads a tar into the new folder $1.
const unpackScript = `mkdir "$1" && exec tar -xf - -C "$1"`

// copyScript copies the files that stdin names, each name ended by a zero byte, from the
// folder $1 to $2.
const copyScript = `cd "$1" && tar -cf - --null -T - | tar -xf - -C "$2"`

// statsScript prints, for every entry of the current folder except shipit's notes, its
// inode, time of change, size, owner, mode and kind. Nobody can change an entry without
// changing one of them.
const statsScript = `stats() {
  if find . -prune -printf '' 2>/dev/null; then
    find . -path ./.shipit -prune -o ! -name . -printf '%p %i %C@ %s %U %G %m %y %l\n'
  elif stat -c '' . >/dev/null 2>&1; then
    find . -path ./.shipit -prune -o ! -name . -exec stat -c '%n %i %z %s %u %g %f' {} +
  else
    find . -path ./.shipit -prune -o ! -name . -exec stat -f '%N %i %Fc %z %u %g %p' {} +
  fi | LC_ALL=C sort
}
`

// compareScript defines listed, which returns 1 unless the lists of the current folder
// have the SHA-256 $1, empty meaning any; and compare, which compares the folder with its
// lists, prints the first differences and returns 1 if there are any. The listing of
// links by ls is cut at the first "./": nothing before it holds a slash.
const compareScript = `list() {
  find . -path ./.shipit -prune -o ! -name . -type d -print | sed 's/^/d /'
  find . -path ./.shipit -prune -o -type f -perm -0100 -print | sed 's/^/x /'
  find . -path ./.shipit -prune -o -type f ! -perm -0100 -print | sed 's/^/f /'
  find . -path ./.shipit -prune -o -type l -exec ls -ldn {} + | sed 's,^[^/]* \./,l ./,'
  find . -path ./.shipit -prune -o ! -type d ! -type f ! -type l -print | sed 's/^/? /'
}
sum() { if command -v sha256sum >/dev/null 2>&1; then sha256sum "$@"; else shasum -a 256 "$@"; fi; }
sums() {
  [ -s .shipit/manifest ] || return 0
  sum -c --quiet .shipit/manifest
}
listed() {
  if [ -n "$1" ] && [ "$(cat .shipit/entries .shipit/manifest | sum | cut -d ' ' -f 1)" != "$1" ]; then
    echo "it is not what the image holds"
    return 1
  fi
}
compare() {
  bad=0
  list | LC_ALL=C sort | diff .shipit/entries - | sed -n 's/^< /missing: /p; s/^> /foreign: /p' | head -n 5 | grep . && bad=1
  owner=$(ls -ldn . | awk '{ print $3 }')
  find . ! -user "$owner" -print | sed "s/^/owner is not $owner: /" | head -n 5 | grep . && bad=1
  wrong=$(sums 2>&1) || { printf '%s\n' "$wrong" | grep -v ': WARNING: ' | head -n 5; bad=1; }
  return "$bad"
}
`

// verifyScript compares every entry of the release directory $1 with its lists, and
// those with the SHA-256 $2.
const verifyScript = mountScript + compareScript + `cd "$1" 2>/dev/null && [ -f .shipit/manifest ] || exit 64
unmounted "$1"
listed "$2" && compare || exit 65`

// quickScript compares the lists of the release directory $1 with the SHA-256 $2, and the
// stats of its entries with those of the last verification. Only if these differ is the
// content read: a folder that was restored from a backup has other inodes and the same
// content.
const quickScript = mountScript + statsScript + compareScript + `cd "$1" 2>/dev/null && [ -f .shipit/manifest ] || exit 64
unmounted "$1"
listed "$2" || exit 65
if [ -f .shipit/stats ] && stats | cmp -s - .shipit/stats; then exit 0; fi
compare || exit 65`

// noteScript writes the stats of the verified release directory $1, if they have changed.
const noteScript = `set -e
` + statsScript + `cd "$1"
if [ -f .shipit/stats ] && stats | cmp -s - .shipit/stats; then exit 0; fi
chmod u+w .shipit
stats >.shipit/stats.new
mv -f .shipit/stats.new .shipit/stats
chmod a-w .shipit/stats .shipit`

// sealScript makes the folder $1 read-only, writes its stats, syncs it to the disk and
// renames it to $2. A damaged folder $2 is renamed to $3 and removed; but if a process
// works in it, it stays and the new content is renamed to $4. The top folder becomes
// read-only last: a folder that may not be written to cannot be renamed.
const sealScript = `set -e
` + discardScript + statsScript + `
unmounted "$1"
unmounted "$2"
find "$1" -xdev -type d -exec chmod a-w {} +
chmod u+w "$1" "$1/.shipit"
(cd "$1" && stats >.shipit/stats)
chmod a-w "$1/.shipit/stats" "$1/.shipit"
sync -f "$1" 2>/dev/null || sync
busy() {
  real=$(cd "$1" && pwd -P)
  if [ -d /proc/self ]; then ls -ln /proc/[0-9]*/cwd 2>/dev/null; else lsof -d cwd -Fn 2>/dev/null; fi |
    DIR="$real" awk '{ at = index($0, ENVIRON["DIR"]); rest = at ? substr($0, at + length(ENVIRON["DIR"])) : "x" } rest == "" || rest ~ /^\// { found = 1 } END { exit !found }'
}
if [ -d "$2" ] && [ ! -L "$2" ] && busy "$2"; then
  discard "$4"
  mv "$1" "$4"
  exit 0
fi
` + exchangeScript

// exchangeScript renames the folder $1 to $2. A folder $2 is renamed to $3 first, and then
// removed.
const exchangeScript = `if [ -L "$2" ]; then rm -f "$2"; fi
if [ -e "$2" ]; then
  chmod u+w "$2"
  mv "$2" "$3"
fi
mv "$1" "$2"
chmod a-w "$2"
discard "$3"`

// repairScript is exchangeScript for a release directory in which no process works; it
// does nothing if there is no folder $1.
const repairScript = `set -e
` + discardScript + `
[ -d "$1" ] || exit 0
unmounted "$1"
unmounted "$2"
` + exchangeScript
