package host

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/joelhooks/shipit/deploy/host/content"
	"github.com/joelhooks/shipit/deploy/host/service"
	"github.com/joelhooks/shipit/release"
)

func TestARuntimeIsHeldAgainstItsRange(t *testing.T) {
	for _, c := range []struct{ wanted, said, message string }{
		{"^1.3", "1.3.9\n", ""},
		{">=1.3.9 <2", "bun 1.3.9 (cafe)\n", ""},
		{"^1.3", "1.2.21\n", "/usr/bin/bun is 1.2.21, the role needs ^1.3"},
		{"^1.3", "v22.11.0\n", "/usr/bin/bun is 22.11.0, the role needs ^1.3"},
		{"^1.3", "no idea\n", "in which there is no version"},
		{"newest", "1.3.9\n", "is no semver range"},
	} {
		f := versionFinding(worker(), "bun", c.wanted, "/usr/bin/bun\n"+c.said)
		if c.message == "" {
			require.Empty(t, f)
			continue
		}
		require.Equal(t, release.CodeRuntimeVersion, f.Code)
		require.Contains(t, f.Message, c.message)
	}
}

func TestFolderFindingsNameWhatIsWrong(t *testing.T) {
	d := worker()
	d.EnvFile, d.User = "/etc/worker.env", "worker"
	disk := content.FileSystem{Device: "tmpfs", Mount: "/opt", FreeKiB: 1024}
	got := append(spaceFindings(d, content.Space{Unwritable: "/opt", FileSystem: disk}), unitFindings(d, "NoUser=yes\nMode=-rw-r--r--\n")...)
	var codes []string
	for _, f := range got {
		codes = append(codes, string(f.Code))
	}
	require.Equal(t, []string{"HostPermission", "DiskSpace", "UserMissing", "EnvFileOpen"}, codes)
	require.Equal(t, release.Warns, got[3].Severity)
	require.Empty(t, spaceFindings(d, content.Space{Unpacked: true, FileSystem: disk}), "what is unpacked takes no space")
	disk.FreeKiB = 203776
	require.Empty(t, spaceFindings(d, content.Space{FileSystem: disk}))
	require.Empty(t, unitFindings(d, "Mode=-rw-------\n"))
}

func TestAProcessThatEndsWhileItIsLookedForTakesNoPort(t *testing.T) {
	manager := service.ManagerOf(worker(), "")
	answers := []string{"Listening=yes\n", "Listening=yes\n", "LoadState=loaded\n"}
	s, err := attributed(t.Context(), func() (service.State, error) {
		s := manager.Parse(answers[0])
		answers = answers[1:]
		return s, nil
	})
	require.NoError(t, err)
	require.Nil(t, s.Foreign())
	s, err = attributed(t.Context(), func() (service.State, error) { return manager.Parse("Listening=yes\n"), nil })
	require.NoError(t, err)
	require.True(t, s.Foreign().Unseen(), "another user's process goes on listening")
}

func worker() service.Definition {
	d := service.Definition{ServiceDefinition: release.ServiceDefinition{
		Kind: "systemd", App: "system-bus", Service: "com.joel.worker", Domain: "system", File: "com.joel.worker.service",
		Root: "/opt/system-bus", Digest: "sha256:" + strings.Repeat("a", 64), Port: 3111,
	}}
	d.Workdir = d.ReleaseDir() + "/packages/system-bus"
	return d
}
