package host

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"
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
		"LoadState=loaded\nActiveState=active\nSubState=running\nMainPID=4211\nExecMainCode=0\nExecMainStatus=0\nNRestarts=0\nUnitFileState=enabled\nResult=success\nCwd=/opt/a\nEnviron=413d4200\nCmdline=62756e00\nUid=0\nAge=12\nHolder=4211 yes bun run\nAccount=root:x:0:0:root:/root:/bin/bash\n",
		"MainPID=99999999999999999999\nEnviron=zz\nEnviron=4\nExecMainCode=2\nExecMainStatus=-9\nHolder=\nHolder=x\nAccount=::::::\nAge=-1\nDropInPaths=\x00\n",
		"ExecMainCode=2\nExecMainStatus=4096\nActivation=\nRetained=\nEnvFile=0a\n")
	f.Fuzz(func(t *testing.T, out string) {
		s := systemd{}.parse(out)
		s.notes(d)
		s.wrongProcess(d)
		s.wrongVariables(d)
		_ = s.activation(d).String()
	})
}

func FuzzLaunchctl(f *testing.F) {
	d := gatewayPlist()
	answers(f, "testdata/launchctl/*", "\tpid = \n\tstate = \n\tlast exit code = (never exited)\n", "last terminating signal = :9\nruns = -1\n")
	f.Fuzz(func(t *testing.T, out string) {
		s := launchd{}.parse(out)
		s.notes(d)
		s.wrongProcess(d)
		s.wrongVariables(d)
	})
}

// FuzzDisk reads any answer as files of a host's folder.
func FuzzDisk(f *testing.F) {
	answers(f, "", "2 000001.json\n{}", "2 a\n{}0 b\n", "-1 a\nx", "9223372036854775807 a\nx", "x", "0 \n")
	f.Fuzz(func(t *testing.T, out string) {
		size := 0
		_ = eachFile(out, func(_ string, content []byte) error { size += len(content); return nil })
		require.LessOrEqual(t, size, len(out))
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

// FuzzLayer makes layers of any entries, and looks at the tree that is written:
// nothing in it leads out, nothing is a device, nothing is there twice.
func FuzzLayer(f *testing.F) {
	f.Add("a/b\nc", "x\n../../etc/passwd", []byte("01"), "a", "", []byte("5"))
	f.Add("../a\n/b\na/../../c", "\n", []byte("000"), "a/.wh.b\n.wh..wh..opq", "", []byte("00"))
	f.Add("a\na/b", "/etc\n", []byte("20"), "a\na", "b\nb", []byte("11"))
	f.Add("dev\nb\nc", "", []byte("346"), ".shipit/entries\n./\n", "", []byte("000"))
	f.Add("a\\\nb\tc", "a", []byte("01"), ".wh.", "", []byte("0"))
	f.Fuzz(func(t *testing.T, lowNames, lowLinks string, lowKinds []byte, highNames, highLinks string, highKinds []byte) {
		low, ok := fuzzedLayer(t, lowNames, lowLinks, lowKinds)
		high, too := fuzzedLayer(t, highNames, highLinks, highKinds)
		if !ok || !too {
			return
		}
		var out bytes.Buffer
		if flatten(t.Context(), &out, []layer{low, high}) != nil {
			return
		}
		seen := map[string]byte{}
		for r := tar.NewReader(&out); ; {
			h, err := r.Next()
			if errors.Is(err, io.EOF) {
				return
			}
			require.NoError(t, err)
			name := strings.TrimSuffix(h.Name, "/")
			require.Equal(t, "./"+path.Clean(name), name)
			require.NotContains(t, strings.Split(name, "/"), "..")
			require.NotContains(t, seen, name, "twice")
			require.Contains(t, []byte{tar.TypeReg, tar.TypeDir, tar.TypeSymlink, tar.TypeLink}, h.Typeflag)
			if h.Typeflag == tar.TypeLink {
				require.Equal(t, byte(tar.TypeReg), seen[h.Linkname], "a hard link to what is no file")
			}
			for dir := path.Dir(path.Clean(name)); dir != "."; dir = path.Dir(dir) {
				require.Equal(t, byte(tar.TypeDir), seen["./"+dir], "%s is written through %s", name, dir)
			}
			seen[name] = h.Typeflag
		}
	})
}

// fuzzedLayer is a layer with the given entries; false: no tar can hold them.
func fuzzedLayer(t *testing.T, names, links string, kinds []byte) (layer, bool) {
	targets := strings.Split(links, "\n")
	var entries []tarred
	for i, name := range strings.Split(names, "\n") {
		e := tarred{h: tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o755}}
		if i < len(kinds) {
			e.h.Typeflag = kinds[i]
		}
		if i < len(targets) && (e.h.Typeflag == tar.TypeSymlink || e.h.Typeflag == tar.TypeLink) {
			e.h.Linkname = targets[i]
		}
		if e.h.Typeflag == tar.TypeReg {
			e.body = name
		}
		if tar.NewWriter(io.Discard).WriteHeader(&tar.Header{Typeflag: e.h.Typeflag, Name: e.h.Name, Linkname: e.h.Linkname, Mode: e.h.Mode, Size: int64(len(e.body))}) != nil {
			return layer{}, false
		}
		entries = append(entries, e)
	}
	return layerOf(t, entries...), true
}
