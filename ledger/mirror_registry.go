package ledger

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// recordType is the artifact type of a record's copy in a registry.
const recordType = "application/vnd.shipit.release.v1+json"

const (
	partType  = "application/vnd.shipit.release.part.v1"
	partNote  = "dev.shipit.part." // and a part's name: the part itself, in base64
	titleNote = "org.opencontainers.image.title"
	copyLimit = 8 << 20 // of one part

	entryLimit = 64 << 20 // of all parts of an entry
)

// RegistryMirror stores copies in a repository of a registry: one artifact an
// entry, tagged with the entry's name. Each part is a layer, but for those that
// only the outcome brings: they are annotations, so that once the others went
// ahead the outcome costs one write.
type RegistryMirror struct {
	repository name.Repository
	options    []remote.Option
	pusher     func() (*remote.Pusher, error) // one, which remembers what it has sent
}

// NewRegistryMirror stores copies in a repository of their own, conventionally
// the image's with "/releases" added, and the environment if there is one: as referrers
// of the image they would be fetched by everything that looks for its signature.
func NewRegistryMirror(repository name.Repository, options ...remote.Option) *RegistryMirror {
	pusher := sync.OnceValues(func() (*remote.Pusher, error) { return remote.NewPusher(options...) })
	return &RegistryMirror{repository: repository, options: options, pusher: pusher}
}

// Location is the repository's name.
func (m *RegistryMirror) Location() string { return m.repository.Name() }

// DifferentError says that the registry holds another copy under an entry's name.
type DifferentError struct{ Reference, Digest string }

func (e *DifferentError) Error() string {
	return fmt.Sprintf("%s has a different copy already (%s)", e.Reference, e.Digest)
}

// artifact is a manifest that has a type of its own. Both artifactType and the
// config's media type carry it: registries look at one or the other.
type artifact struct {
	v1.Manifest
	ArtifactType string `json:"artifactType"`

	raw []byte
}

// size is how many bytes its layers say that they have.
func (a artifact) size() (size int64) {
	for _, layer := range a.Layers {
		size += max(layer.Size, 0)
	}
	return size
}

func (a artifact) RawManifest() ([]byte, error)        { return a.raw, nil }
func (a artifact) MediaType() (types.MediaType, error) { return types.OCIManifestSchema1, nil }

// Put stores an entry. Another one of that name is left alone: *DifferentError.
func (m *RegistryMirror) Put(ctx context.Context, entry string, parts map[string][]byte) error {
	made, layers, err := newArtifact(entry, parts)
	if err != nil {
		return err
	}
	tag := m.repository.Tag(entry)
	done := false
	err = atOnce(
		func() (err error) { done, err = m.has(ctx, tag, digestOf(made.raw)); return err },
		func() error { return m.upload(ctx, layers) },
	)
	if err != nil || done {
		return err
	}
	pusher, err := m.pusher()
	if err != nil {
		return err
	}
	return pusher.Put(ctx, tag, made)
}

// has reports whether a tag is there with a digest; with another one it is an error.
func (m *RegistryMirror) has(ctx context.Context, tag name.Tag, want v1.Hash) (bool, error) {
	there, err := remote.Head(tag, m.with(ctx)...)
	switch {
	case absent(err):
		return false, nil
	case err != nil:
		return false, err
	case there.Digest != want:
		return false, &DifferentError{Reference: tag.Name(), Digest: there.Digest.String()}
	}
	return true, nil
}

// Has reports whether the registry has an entry.
func (m *RegistryMirror) Has(ctx context.Context, entry string) (bool, error) {
	_, err := remote.Head(m.repository.Tag(entry), m.with(ctx)...)
	if absent(err) {
		return false, nil
	}
	return err == nil, err
}

// PutParts uploads parts that no entry names yet.
func (m *RegistryMirror) PutParts(ctx context.Context, parts map[string][]byte) error {
	_, layers, err := newArtifact("", parts)
	if err != nil {
		return err
	}
	return m.upload(ctx, layers)
}

// upload sends what the registry lacks of the layers, all at once. What this run
// has sent before is not asked for again.
func (m *RegistryMirror) upload(ctx context.Context, layers []v1.Layer) error {
	pusher, err := m.pusher()
	if err != nil {
		return err
	}
	var jobs []func() error
	for _, layer := range layers {
		jobs = append(jobs, func() error { return pusher.Upload(ctx, m.repository, layer) })
	}
	return atOnce(jobs...)
}

// Get returns an entry, or nil if there is none.
func (m *RegistryMirror) Get(ctx context.Context, entry string) (map[string][]byte, error) {
	options := m.with(ctx)
	found, err := remote.Get(m.repository.Tag(entry), options...)
	if absent(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var a artifact
	if err := json.Unmarshal(found.Manifest, &a); err != nil {
		return nil, fmt.Errorf("manifest of %s: %w", m.repository.Tag(entry), err)
	}
	if a.ArtifactType != recordType || a.Config.MediaType != recordType {
		return nil, fmt.Errorf("%s is a %q, not a record", m.repository.Tag(entry), a.ArtifactType)
	}
	if size := a.size(); size > entryLimit {
		return nil, fmt.Errorf("%s has %d bytes, which no record has", m.repository.Tag(entry), size)
	}
	parts := map[string][]byte{}
	for note, coded := range a.Annotations {
		if part, ok := strings.CutPrefix(note, partNote); ok {
			if parts[part], err = base64.StdEncoding.DecodeString(coded); err != nil {
				return nil, fmt.Errorf("part %s of %s: %w", part, m.repository.Tag(entry), err)
			}
		}
	}
	for _, layer := range a.Layers {
		part, err := m.part(layer, options)
		if err != nil {
			return nil, fmt.Errorf("part %s of %s: %w", layer.Annotations[titleNote], m.repository.Tag(entry), err)
		}
		parts[layer.Annotations[titleNote]] = part
	}
	return parts, nil
}

// part reads a layer; bytes that do not have its digest are an error.
func (m *RegistryMirror) part(layer v1.Descriptor, options []remote.Option) ([]byte, error) {
	if layer.Size > copyLimit {
		return nil, fmt.Errorf("it has %d bytes, which no record has", layer.Size)
	}
	blob, err := remote.Layer(m.repository.Digest(layer.Digest.String()), options...)
	if err != nil {
		return nil, err
	}
	r, err := blob.Compressed()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	// A registry that serves more than it said is not read to its end.
	part, err := io.ReadAll(io.LimitReader(r, layer.Size+1))
	if err == nil && int64(len(part)) != layer.Size {
		err = fmt.Errorf("it has other than the %d bytes that its manifest says", layer.Size)
	}
	return part, err
}

// Names lists the entries; a repository that is not there yet has none.
func (m *RegistryMirror) Names(ctx context.Context) ([]string, error) {
	tags, err := remote.List(m.repository, m.with(ctx)...)
	if absent(err) {
		return nil, nil
	}
	return slices.DeleteFunc(tags, func(tag string) bool {
		_, numbered := nameSeq(tag)
		return !numbered
	}), err
}

func (m *RegistryMirror) with(ctx context.Context) []remote.Option {
	return append(slices.Clone(m.options), remote.WithContext(ctx))
}

func newArtifact(entry string, parts map[string][]byte) (artifact, []v1.Layer, error) {
	config := static.NewLayer([]byte("{}"), recordType)
	layers := []v1.Layer{config}
	a := artifact{ArtifactType: recordType, Manifest: v1.Manifest{
		SchemaVersion: 2, MediaType: types.OCIManifestSchema1,
		Config:      v1.Descriptor{MediaType: recordType, Digest: digestOf([]byte("{}")), Size: 2},
		Annotations: map[string]string{titleNote: entry},
	}}
	for _, part := range slices.Sorted(maps.Keys(parts)) {
		if part == partRecord || part == partSignature {
			a.Annotations[partNote+part] = base64.StdEncoding.EncodeToString(parts[part])
			continue
		}
		layers = append(layers, static.NewLayer(parts[part], partType))
		a.Layers = append(a.Layers, v1.Descriptor{
			MediaType: partType, Digest: digestOf(parts[part]), Size: int64(len(parts[part])),
			Annotations: map[string]string{titleNote: part},
		})
	}
	var err error
	a.raw, err = json.Marshal(a)
	return a, layers, err
}

func digestOf(b []byte) v1.Hash {
	h, _ := v1.NewHash(hash(b)) // always well formed
	return h
}

func absent(err error) bool {
	var answer *transport.Error
	return errors.As(err, &answer) && answer.StatusCode == http.StatusNotFound
}
