package service

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const foundUnit = `[Unit]
Description=worker
[Service]
Environment="API_TOKEN=hunter2 hunter2" COLOR=blue
Environment=REDIS=redis://:hunter2@cache:6379 \
  DB_PASSWORD=hunter2
SetCredential=pin:hunter2
WorkingDirectory=-/root/Code/system-bus
ExecStartPre=/bin/true
ExecStart=-/bin/sh -c "git pull && exec bun run src/serve.ts" \
  --token hunter2 --api-key \
  hunter2
`

const foundPlist = `<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">
<plist version="1.0"><dict>
  <key>Label</key><string>com.joel.system-bus-worker</string>
  <key>ProgramArguments</key>
  <array><string>/Users/joel/Code/system-bus-worker/start.sh</string><string>--api-key</string><string>hunter2</string><string>--token=hunter2</string></array>
  <key>WorkingDirectory</key><string>/Users/joel/Code/system-bus-worker</string>
  <key>EnvironmentVariables</key>
  <dict><key>INNGEST_SIGNING_KEY</key><string>hunter2</string><key>WORKER_ROLE</key><string>host</string><key>WorkingDirectory</key><string>/nowhere</string></dict>
</dict></plist>`

func TestWhatAFileStarts(t *testing.T) {
	require.Equal(t, starts{Command: []string{"/bin/sh", "-c", "git pull && exec bun run src/serve.ts", "--token", "hunter2", "--api-key", "hunter2"}, Dir: "/root/Code/system-bus"}, startsOf("systemd", foundUnit))
	require.Equal(t, starts{Command: []string{"/Users/joel/Code/system-bus-worker/start.sh", "--api-key", "hunter2", "--token=hunter2"}, Dir: "/Users/joel/Code/system-bus-worker"}, startsOf("launchd", foundPlist))
	require.Equal(t, starts{Command: []string{"/bin/sh", "-c", "x"}}, startsOf("launchd", `<plist><dict><key>Program</key><string>/bin/sh</string><key>ProgramArguments</key><array><string>sh</string><string>-c</string><string>x</string></array></dict></plist>`))
	require.Empty(t, startsOf("launchd", "bplist00\x00"))
	require.Empty(t, startsOf("systemd", ""))
}

func TestNoSecretOfAFileThatWasFoundIsKept(t *testing.T) {
	for kind, text := range map[string]string{"systemd": foundUnit, "launchd": foundPlist} {
		kept := hideSecrets(kind, []byte(text))
		require.NotContains(t, kept, "hunter2", kind)
		for _, word := range []string{"blue", "WORKER_ROLE</key><string>host", "/root/Code/system-bus", "com.joel.system-bus-worker", "cache:6379"} {
			require.Equal(t, strings.Contains(text, word), strings.Contains(kept, word), "%s: %s\n%s", kind, word, kept)
		}
		require.Equal(t, strings.Count(text, "\n"), strings.Count(kept, "\n"))
		d := gatewayPlist()
		d.Kind = kind
		found := d.AsFound([]byte(text), State{})
		require.NotContains(t, strings.Join(found.Command, " "), "hunter2")
		require.Equal(t, FileHash([]byte(text)), found.Found.Hash)
	}
	plain := "[Service]\nEnvironment=COLOR=blue WORKER_ROLE=host\nExecStart=/usr/bin/bun run a.ts\n"
	require.Equal(t, plain, hideSecrets("systemd", []byte(plain)), "it can be written again from the record")
	require.Empty(t, hideSecrets("launchd", []byte("bplist00\xff\xfe")), "what is no text is on the machine alone")
}
