package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// layersSection begins the names of the sections.
const layersSection = "Layers alone"

const tarWay = "tar, gzip -n, crane append"

// layerRow measures the layers alone: from the end of the install until the registry has
// them, beside tar and gzip of the tree that the same install left. shipit's time holds
// the search for what is not to be in an image, and the proof that its imports resolve.
//
// The other way proves nothing and keeps nothing. So a second row has the part of shipit's
// time in which it does the same: from the end of the proof on. The first stays the figure
// that is compared, because a user waits for all of it.
func (w way) layerRow(ctx context.Context, t *table, runs []layerSpan) error {
	crane, version, err := buildPeer(ctx, "crane")
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err != nil {
		t.skipped = append(t.skipped, fmt.Sprintf("crane: %v", err))
		return nil
	}
	tree, err := w.lastInstall()
	if err != nil {
		return err
	}
	peer, took, written := tool{name: tarWay, version: version}, figures{}, figures{}
	for _, run := range runs {
		took.between(w.column, run.from, run.to)
		written.between(w.column, run.proven, run.to)
		archive := filepath.Join(w.dir, w.namespace+"-layer.tgz")
		m, err := w.must(ctx, [][]string{
			{"sh", "-ec", `tar -C "$1" -c . | gzip -n > "$2"`, "sh", tree, archive},
			{crane, "append", "--insecure", "-f", archive, "-t", w.registry + "/" + w.namespace + "/layers:1"},
		})
		if err != nil {
			return err
		}
		took.add(peer, m.took().Seconds())
		written.add(peer, m.took().Seconds())
	}
	section := layersSection + ": " + w.live.tree.name
	t.figures(section, "from the end of the install to the registry", seconds, took)
	t.figures(section, "of that, what the other way does too", seconds, written)
	t.among(section, []tool{w.column, peer})
	return nil
}

// lastInstall is the folder of the tree that the last install left.
func (w way) lastInstall() (string, error) {
	kept, err := filepath.Glob(filepath.Join(w.dir, w.tool.name, "home", ".cache", "shipit", "installs", "*"))
	if err != nil {
		return "", err
	}
	var newest string
	var at time.Time
	for _, dir := range kept {
		if info, err := os.Stat(dir); err == nil && info.ModTime().After(at) {
			newest, at = dir, info.ModTime()
		}
	}
	if newest == "" {
		return "", errors.New("shipit has kept no install")
	}
	return newest, nil
}

// layerSpan is the part of a run in which layers are made.
type layerSpan struct {
	from   time.Time // the install has ended
	proven time.Time // every import resolves
	to     time.Time // the registry has the layers
}

// layersIn is the last part of the events from the end of a command to the push.
func layersIn(events []byte) layerSpan {
	var s layerSpan
	for line := range bytes.Lines(events) {
		var e struct {
			At                   time.Time
			Phase, Mark, Message string
		}
		if json.Unmarshal(line, &e) != nil || e.Mark != "done" {
			continue
		}
		switch {
		case e.Phase == "build" && strings.HasPrefix(e.Message, "ran "):
			s = layerSpan{from: e.At}
		case e.Phase == "build" && strings.HasPrefix(e.Message, "every import of "):
			s.proven = e.At
		case e.Phase == "push" && !s.from.IsZero():
			s.to = e.At
		}
	}
	return s
}
