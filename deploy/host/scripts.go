package host

// The scripts are POSIX sh. What varies comes as $1, $2, …: nothing is pasted
// into them. Paths are absolute, so none is taken for an option.

const (
	exitAbsent  = 64
	exitDamaged = 65
)

// sweepScript makes the folders below the root $1 and removes what runs other
// than $2 left in staging: the lock of the ledger lets no two runs work at once.
const sweepScript = `set -e
mkdir -p "$1/releases" "$1/staging" "$1/current" "$1/units" "$1/switching"
for old in "$1"/staging/*; do
  case "$old" in
  *".$2."*) ;;
  *) if [ -d "$old" ]; then chmod -R u+w "$old"; rm -rf "$old"; fi ;;
  esac
done`

// removeScript removes the folder $1, read-only or not.
const removeScript = `[ -e "$1" ] || exit 0
chmod -R u+w "$1" && rm -rf "$1"`

// unpackScript reads a tar into the new folder $1.
const unpackScript = `mkdir "$1" && exec tar -xf - -C "$1"`

// verifyScript compares the folder $1 with its lists. The listing of links by ls
// is cut at the first "./": nothing before it holds a slash.
const verifyScript = `cd "$1" 2>/dev/null && [ -f .shipit/manifest ] || exit 64
list() {
  find . -path ./.shipit -prune -o ! -name . -type d -print | sed 's/^/d /'
  find . -path ./.shipit -prune -o -type f -perm -0100 -print | sed 's/^/x /'
  find . -path ./.shipit -prune -o -type f ! -perm -0100 -print | sed 's/^/f /'
  find . -path ./.shipit -prune -o -type l -exec ls -ldn {} + | sed 's,^[^/]* \./,l ./,'
  find . -path ./.shipit -prune -o ! -type d ! -type f ! -type l -print | sed 's/^/? /'
}
sums() {
  [ -s .shipit/manifest ] || return 0
  if command -v sha256sum >/dev/null 2>&1; then sha256sum -c --quiet .shipit/manifest; else shasum -a 256 -c --quiet .shipit/manifest; fi
}
bad=0
list | LC_ALL=C sort | diff .shipit/entries - | sed -n 's/^< /missing: /p; s/^> /foreign: /p' | head -n 5 | grep . && bad=1
wrong=$(sums 2>&1) || { printf '%s\n' "$wrong" | head -n 5; bad=1; }
[ "$bad" -eq 0 ] || exit 65`

// sealScript makes the folder $1 read-only, writes it to the disk and renames it
// to $2; what stood there, damaged, goes by way of $3. The top folder is sealed
// last: only who may write to it can move it.
const sealScript = `set -e
find "$1" -type d -exec chmod a-w {} +
chmod u+w "$1"
sync -f "$1" 2>/dev/null || sync
if [ -e "$2" ]; then
  chmod u+w "$2"
  mv "$2" "$3"
fi
mv "$1" "$2"
chmod a-w "$2"
if [ -e "$3" ]; then
  chmod -R u+w "$3"
  rm -rf "$3"
fi`

// diskScript shows the file system of $1, or of the nearest folder above it.
const diskScript = `p=$1
while [ ! -e "$p" ]; do p=$(dirname "$p"); done
df -Pk "$p"`
