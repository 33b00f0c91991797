package service

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// answers are seeds of what a service manager says.
func answers(f *testing.F, pattern string, more ...string) {
	f.Helper()
	files, err := filepath.Glob(pattern)
	require.NoError(f, err)
	for _, file := range files {
		data, err := os.ReadFile(file)
		require.NoError(f, err)
		f.Add(string(data))
	}
	for _, text := range more {
		f.Add(text)
	}
}

func FuzzSystemctl(f *testing.F) {
	d := gatewayPlist() // any definition
	answers(f, "testdata/systemctl/*",
		"LoadState=loaded\nActiveState=active\nSubState=running\nMainPID=4211\nExecMainCode=0\nExecMainStatus=0\nNRestarts=0\nUnitFileState=enabled\nResult=success\nCwd=/opt/a\nEnviron=413d4200\nCmdline=62756e00\nUid=0\nAge=12\nListener=4211 yes bun run\nAccount=root:x:0:0:root:/root:/bin/bash\n",
		"MainPID=99999999999999999999\nEnviron=zz\nEnviron=4\nExecMainCode=2\nExecMainStatus=-9\nListener=\nListener=x\nAccount=::::::\nAge=-1\nDropInPaths=\x00\n",
		"ExecMainCode=2\nExecMainStatus=4096\nActivation=\nRetained=\nEnvFile=0a\n")
	f.Fuzz(func(t *testing.T, out string) {
		s := systemd{}.Parse(out)
		s.Notes(d)
		s.wrongProcess(d)
		s.wrongVariables(d)
		_ = s.activation(d).String()
	})
}

func FuzzLaunchctl(f *testing.F) {
	d := gatewayPlist()
	answers(f, "testdata/launchctl/*", "\tpid = \n\tstate = \n\tlast exit code = (never exited)\n", "last terminating signal = :9\nruns = -1\n")
	f.Fuzz(func(t *testing.T, out string) {
		s := launchd{}.Parse(out)
		s.Notes(d)
		s.wrongProcess(d)
		s.wrongVariables(d)
	})
}

// FuzzEnvironmentFile reads any text as the environment file of a unit.
func FuzzEnvironmentFile(f *testing.F) {
	answers(f, "", "A=b\n", "A='b\nc'\\\nd\n# x \\\nB=\"\\$\\\n\"", ";=\nexport A=b\n=b\nA", "\x00=\xff")
	f.Fuzz(func(t *testing.T, text string) {
		for name := range parseEnvFile(text) {
			require.NotEmpty(t, name)
		}
	})
}
