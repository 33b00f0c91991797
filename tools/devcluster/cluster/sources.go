package cluster

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// FetchSources fetches the modules that the named tools are built of, where a tool is not
// built yet. It keeps the network busy while another build keeps the processors.
func FetchSources(ctx context.Context, names ...string) error {
	root, err := Repository()
	if err != nil {
		return err
	}
	for _, name := range names {
		t := tools()[name]
		path, err := t.path(ctx, root, name)
		if err != nil {
			return err
		}
		if _, err := os.Stat(path); err == nil {
			continue
		}
		// Unlike `go mod download` it fetches nothing that is only required.
		list := exec.CommandContext(ctx, "go", "list", "-deps", t.pkg)
		list.Dir = filepath.Join(root, filepath.FromSlash(t.module))
		list.Env = append(goEnv(), "GOFLAGS="+strings.Join(buildFlags(), " "))
		if out, err := list.CombinedOutput(); err != nil && ctx.Err() == nil {
			return fmt.Errorf("fetch the sources of %s: %w: %s", name, err, bytes.TrimSpace(out[max(0, len(out)-2000):]))
		}
	}
	return nil
}
