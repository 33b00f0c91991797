#!/bin/sh
# Stands in for launchctl, so that services of launchd can be tested where there is none:
# what is loaded is kept in $LAUNCHD, and its programs are run. It knows plists that have
# one element a line. A program that has ended is started again by nobody.
verb=$1
[ $# -eq 0 ] || shift
words() { sed -n '/<key>ProgramArguments/,/<\/array>/s,.*<string>\(.*\)</string>.*,\1,p' "$1"; }
value() { sed -n "s,.*<key>$2</key><string>\(.*\)</string>.*,\1,p" "$1"; }
label=${1##*/}
loaded=$LAUNCHD/$label
case $verb in
print)
  case $label in [0-9]*) exit 0 ;; esac
  [ -e "$loaded" ] || exit 113
  pid=$(cat "$loaded")
  if kill -0 "$pid" 2>/dev/null; then
    printf '\tstate = running\n\truns = 1\n\tpid = %s\n' "$pid"
  else
    printf '\tstate = spawn scheduled\n\truns = 2\n\tlast exit code = 3\n'
  fi
  ;;
print-disabled) cat "$LAUNCHD/disabled" 2>/dev/null ;;
enable) : >"$LAUNCHD/disabled" ;;
bootstrap)
  plist=$2
  loaded=$LAUNCHD/$(value "$plist" Label)
  [ ! -e "$loaded" ] || exit 37
  cd "$(value "$plist" WorkingDirectory)" || exit 5
  release=$(value "$plist" SHIPIT_RELEASE)
  set --
  while IFS= read -r word; do set -- "$@" "$word"; done <<END
$(words "$plist")
END
  if [ -n "$release" ]; then set -- env SHIPIT_RELEASE="$release" "$@"; fi
  "$@" </dev/null >/dev/null 2>&1 &
  echo $! >"$loaded"
  ;;
kickstart) exit 37 ;;
bootout)
  [ -e "$loaded" ] || exit 113
  kill "$(cat "$loaded")" 2>/dev/null
  rm "$loaded"
  ;;
kill) kill -9 "$(cat "$loaded")" ;;
esac
