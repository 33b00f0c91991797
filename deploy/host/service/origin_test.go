package service

import (
	"encoding/hex"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/joelhooks/shipit/deploy/host/machine"
)

func ran(t *testing.T, cmd machine.Command, env ...string) string {
	t.Helper()
	run := exec.CommandContext(t.Context(), cmd.Argv[0], cmd.Argv[1:]...)
	run.Env = append(os.Environ(), env...)
	out, err := run.Output()
	require.NoError(t, err)
	return string(out)
}

func TestWhereAServiceThatWasMadeByHandComesFrom(t *testing.T) {
	clone := filepath.Join(t.TempDir(), "Code", "system bus worker")
	write := func(name, text string) {
		at := filepath.Join(clone, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(at), 0o755))
		require.NoError(t, os.WriteFile(at, []byte(text), 0o755))
	}
	require.NoError(t, os.MkdirAll(filepath.Join(clone, ".git"), 0o755))
	write("packages/worker/start.sh", "#!/bin/sh\n# git pull is bad\ngit -C /x pull --ff-only\nbun install --frozen-lockfile # at each start\nexec bun run src/serve.ts\n")
	write("serve", "\x7fELF git pull")
	bans := []Ban{{regexp.MustCompile(`Code/system bus worker`), "the legacy clone"}}
	folder := filepath.Join(clone, "packages/worker")
	notesOf := func(kind, file string, s State) []string {
		d := gatewayPlist()
		d.Kind = kind
		o := OriginOf(d, []byte(file), s)
		return o.Notes(ran(t, o.Inspect()), bans)
	}
	at := clone + "/packages/worker/start.sh"
	for kind, file := range map[string]string{
		"systemd": "[Service]\nWorkingDirectory=" + folder + "\nExecStart=\"" + at + "\"\n",
		"launchd": "<plist><dict><key>ProgramArguments</key><array><string>/bin/sh</string><string>start.sh</string></array>\n<key>WorkingDirectory</key><string>" + folder + "</string></dict></plist>",
	} {
		notes := notesOf(kind, file, State{})
		require.Contains(t, notes, "it starts from the checkout "+clone, kind)
		require.Contains(t, notes, at+":3 runs `git -C /x pull`", kind)
		require.Contains(t, notes, at+":4 runs `bun install`", kind)
		require.Contains(t, strings.Join(notes, "\n"), `names "Code/system bus worker", which is forbidden: the legacy clone`, kind)
		require.NotContains(t, strings.Join(notes, "\n"), ":2 runs", kind)
	}
	notes := notesOf("systemd", "[Service]\nExecStartPre=/usr/bin/git pull\nExecStart="+clone+"/serve\n", State{Cwd: folder})
	require.Contains(t, notes, "its definition runs `git pull`")
	require.Contains(t, notes, "it works in "+folder+", which is forbidden: the legacy clone")
	require.Empty(t, notesOf("systemd", "[Service]\nExecStart=/usr/bin/bun run a.ts\nWorkingDirectory=/\n", State{Cwd: "/"}))
}

func TestTheCopiesOfAProgramOnMacOS(t *testing.T) {
	bin := t.TempDir()
	stub := func(name, body string) {
		require.NoError(t, os.WriteFile(filepath.Join(bin, name), []byte("#!/bin/sh\n"+body), 0o755))
	}
	stub("lsof", `printf 'p11\nfcwd\nn/opt/bus/releases/x/app\np12\nn/Users/joel/Code/clone/packages/worker\np13\nn/Users/joel\np14\nn/Users/joel\np15\nn/Users/joel/packages/worker\n'`)
	stub("ps", `case "$*" in
*eww*11) echo "bun run XPC_SERVICE_NAME=com.joel.gateway WORKER_ROLE=host" ;;
*eww*12) echo "bun run XPC_SERVICE_NAME=com.joel.legacy" ;;
*eww*13) echo "bun run WORKER_ROLE=host" ;;
*eww*14) echo "bun run WORKER_ROLE=cluster" ;;
*eww*15) echo "bun run XPC_SERVICE_NAME=com.joel.other" ;;
*) echo "/opt/homebrew/bin/bun run src/serve.ts" ;;
esac`)
	d := gatewayPlist()
	d.Command, d.Workdir, d.Env = []string{"/usr/bin/env", "bun", "run", "src/serve.ts"}, d.ReleaseDir()+"/app/packages/worker", map[string]string{"WORKER_ROLE": "host"}
	cmd := FindCopies(d)
	cmd.Argv[2] = strings.Replace(cmd.Argv[2], "[ ! -d /proc/self ]", "true", 1)
	out := ran(t, cmd, "PATH="+bin+":"+os.Getenv("PATH"))
	require.Equal(t, []string{
		"PID 12 (/opt/homebrew/bin/bun run src/serve.ts) runs beside the service, in /Users/joel/Code/clone/packages/worker",
		"PID 13 (/opt/homebrew/bin/bun run src/serve.ts) runs beside the service with WORKER_ROLE=host, in /Users/joel",
	}, ParseCopies(out, d, State{PID: 11}, []string{"com.joel.other"}))
	require.Contains(t, out, hex.EncodeToString([]byte("src/serve.ts")))
}
