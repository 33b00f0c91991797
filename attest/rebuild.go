package attest

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// Difference is the first difference between a recorded image and its rebuild. The
// zero value means that there is none.
type Difference struct {
	Platform string `json:"platform,omitempty"` // of the image in an index
	Layer    int    `json:"layer,omitempty"`    // from 1; 0: not in a layer
	Path     string `json:"path,omitempty"`     // in the layer, or in the config as a.b.c
	Field    string `json:"field,omitempty"`    // what differs: content, mode, present, …
	Recorded string `json:"recorded,omitempty"`
	Rebuilt  string `json:"rebuilt,omitempty"`
}

// Same reports whether there is no difference.
func (d Difference) Same() bool { return d == Difference{} }

// String is the difference in one line.
func (d Difference) String() string {
	if d.Same() {
		return "no difference"
	}
	where := "config"
	if d.Layer > 0 {
		where = fmt.Sprintf("layer %d", d.Layer)
	}
	if d.Path != "" {
		where += ": " + d.Path
	}
	if d.Platform != "" {
		where = d.Platform + ": " + where
	}
	return fmt.Sprintf("%s: %s: recorded %s, rebuilt %s", where, d.Field, d.Recorded, d.Rebuilt)
}

// CompareRebuild compares a rebuilt image with the recorded one: the diffIDs of
// all layers, then the config. Compressed bytes are not compared, because they may
// change with the compressor. Where diffIDs differ, it finds the first entry of
// the two tars that differs.
func CompareRebuild(recorded, rebuilt v1.Image) (Difference, error) {
	a, err := recorded.ConfigFile()
	if err != nil {
		return Difference{}, fmt.Errorf("config of the recorded image: %w", err)
	}
	b, err := rebuilt.ConfigFile()
	if err != nil {
		return Difference{}, fmt.Errorf("config of the rebuilt image: %w", err)
	}
	for i, id := range a.RootFS.DiffIDs {
		if i < len(b.RootFS.DiffIDs) && b.RootFS.DiffIDs[i] != id {
			return compareLayers(recorded, rebuilt, i)
		}
	}
	if x, y := len(a.RootFS.DiffIDs), len(b.RootFS.DiffIDs); x != y {
		return Difference{Path: "rootfs.diff_ids", Field: "count", Recorded: strconv.Itoa(x), Rebuilt: strconv.Itoa(y)}, nil
	}
	return compareConfigs(recorded, rebuilt)
}

// CompareRebuildIndex is CompareRebuild for an image of several platforms.
func CompareRebuildIndex(recorded, rebuilt v1.ImageIndex) (Difference, error) {
	a, err := byPlatform(recorded)
	if err != nil {
		return Difference{}, fmt.Errorf("recorded index: %w", err)
	}
	b, err := byPlatform(rebuilt)
	if err != nil {
		return Difference{}, fmt.Errorf("rebuilt index: %w", err)
	}
	for _, platform := range slices.Sorted(maps.Keys(a)) {
		if b[platform] == nil {
			return Difference{Platform: platform, Field: "present", Recorded: "yes", Rebuilt: "no"}, nil
		}
		d, err := CompareRebuild(a[platform], b[platform])
		if err != nil {
			return Difference{}, fmt.Errorf("%s: %w", platform, err)
		}
		if !d.Same() {
			d.Platform = platform
			return d, nil
		}
	}
	for _, platform := range slices.Sorted(maps.Keys(b)) {
		if a[platform] == nil {
			return Difference{Platform: platform, Field: "present", Recorded: "no", Rebuilt: "yes"}, nil
		}
	}
	return Difference{}, nil
}

func byPlatform(index v1.ImageIndex) (map[string]v1.Image, error) {
	manifest, err := index.IndexManifest()
	if err != nil {
		return nil, err
	}
	images := map[string]v1.Image{}
	for _, desc := range manifest.Manifests {
		if !desc.MediaType.IsImage() || desc.Platform == nil {
			return nil, fmt.Errorf("%s is no image of a platform", desc.Digest)
		}
		platform := desc.Platform.String()
		if images[platform] != nil {
			return nil, fmt.Errorf("two images for %s", platform)
		}
		if images[platform], err = index.Image(desc.Digest); err != nil {
			return nil, fmt.Errorf("%s: %w", platform, err)
		}
	}
	return images, nil
}

func compareLayers(recorded, rebuilt v1.Image, i int) (Difference, error) {
	fail := func(err error) (Difference, error) {
		return Difference{}, fmt.Errorf("compare layer %d: %w", i+1, err)
	}
	a, err := openLayer(recorded, i)
	if err != nil {
		return fail(err)
	}
	defer a.Close()
	b, err := openLayer(rebuilt, i)
	if err != nil {
		return fail(err)
	}
	defer b.Close()
	d, err := compareTars(tar.NewReader(a), tar.NewReader(b))
	if err != nil {
		return fail(err)
	}
	if d.Same() {
		d = Difference{Field: "bytes", Recorded: "one tar", Rebuilt: "another with equal entries"}
	}
	d.Layer = i + 1
	return d, nil
}

func openLayer(img v1.Image, i int) (io.ReadCloser, error) {
	layers, err := img.Layers()
	if err != nil {
		return nil, err
	}
	if i >= len(layers) {
		return nil, fmt.Errorf("the image has only %d layers", len(layers))
	}
	return layers[i].Uncompressed()
}

// compareTars walks both tars in step: the layers are sorted by path, so the first
// entry that differs is the first difference.
func compareTars(a, b *tar.Reader) (Difference, error) {
	for {
		x, errX := a.Next()
		y, errY := b.Next()
		endX, endY := errors.Is(errX, io.EOF), errors.Is(errY, io.EOF)
		switch {
		case endX && endY:
			return Difference{}, nil
		case endX:
			return Difference{Path: y.Name, Field: "present", Recorded: "no", Rebuilt: "yes"}, errY
		case endY:
			return Difference{Path: x.Name, Field: "present", Recorded: "yes", Rebuilt: "no"}, errX
		case errX != nil || errY != nil:
			return Difference{}, errors.Join(errX, errY)
		case x.Name < y.Name:
			return Difference{Path: x.Name, Field: "present", Recorded: "yes", Rebuilt: "no"}, nil
		case x.Name > y.Name:
			return Difference{Path: y.Name, Field: "present", Recorded: "no", Rebuilt: "yes"}, nil
		}
		if d := compareHeaders(x, y); !d.Same() {
			return d, nil
		}
		contentX, err := hashReader(a)
		if err != nil {
			return Difference{}, fmt.Errorf("%s: %w", x.Name, err)
		}
		contentY, err := hashReader(b)
		if err != nil {
			return Difference{}, fmt.Errorf("%s: %w", x.Name, err)
		}
		if contentX != contentY {
			return Difference{Path: x.Name, Field: "content", Recorded: contentX, Rebuilt: contentY}, nil
		}
	}
}

// compareHeaders does not compare sizes: the comparison of content shows them.
func compareHeaders(x, y *tar.Header) Difference {
	fields := []struct{ name, recorded, rebuilt string }{
		{"type", string(x.Typeflag), string(y.Typeflag)},
		{"mode", strconv.FormatInt(x.Mode, 8), strconv.FormatInt(y.Mode, 8)},
		{"link", x.Linkname, y.Linkname},
		{"uid", strconv.Itoa(x.Uid), strconv.Itoa(y.Uid)},
		{"gid", strconv.Itoa(x.Gid), strconv.Itoa(y.Gid)},
		{"owner", x.Uname + ":" + x.Gname, y.Uname + ":" + y.Gname},
		{"time", x.ModTime.UTC().Format(time.RFC3339Nano), y.ModTime.UTC().Format(time.RFC3339Nano)},
		{"pax", fmt.Sprint(x.PAXRecords), fmt.Sprint(y.PAXRecords)}, // fmt sorts the keys of maps
	}
	for _, f := range fields {
		if f.recorded != f.rebuilt {
			return Difference{Path: x.Name, Field: f.name, Recorded: f.recorded, Rebuilt: f.rebuilt}
		}
	}
	return Difference{}
}

func hashReader(r io.Reader) (string, error) {
	h := sha256.New()
	n, err := io.Copy(h, r)
	return fmt.Sprintf("sha256:%s (%d bytes)", hex.EncodeToString(h.Sum(nil))[:12], n), err
}

func compareConfigs(recorded, rebuilt v1.Image) (Difference, error) {
	a, err := recorded.RawConfigFile()
	if err != nil {
		return Difference{}, fmt.Errorf("config of the recorded image: %w", err)
	}
	b, err := rebuilt.RawConfigFile()
	if err != nil {
		return Difference{}, fmt.Errorf("config of the rebuilt image: %w", err)
	}
	if bytes.Equal(a, b) {
		return Difference{}, nil
	}
	var x, y any
	if err := errors.Join(json.Unmarshal(a, &x), json.Unmarshal(b, &y)); err != nil {
		return Difference{}, fmt.Errorf("config: %w", err)
	}
	if d := compareValues("", x, y); !d.Same() {
		return d, nil
	}
	return Difference{Field: "bytes", Recorded: "one JSON text", Rebuilt: "another of equal value"}, nil
}

// compareValues walks two JSON values, objects by key in order.
func compareValues(path string, x, y any) Difference {
	a, okA := x.(map[string]any)
	b, okB := y.(map[string]any)
	if okA && okB {
		all := maps.Clone(a)
		maps.Copy(all, b)
		for _, key := range slices.Sorted(maps.Keys(all)) {
			if d := compareValues(strings.TrimPrefix(path+"."+key, "."), a[key], b[key]); !d.Same() {
				return d
			}
		}
		return Difference{}
	}
	recorded, rebuilt := text(x), text(y)
	if recorded == rebuilt {
		return Difference{}
	}
	return Difference{Path: path, Field: "value", Recorded: recorded, Rebuilt: rebuilt}
}

func text(v any) string {
	out, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprint(v)
	}
	if string(out) == "null" {
		return "nothing"
	}
	return string(out)
}
