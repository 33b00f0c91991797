package ledger

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/joelhooks/shipit/release"
)

// A record is sealed first and signed after: what runs is known at once, also if
// the signer is slow or away. The signature is an entry of its own beside it. One
// that could not be brought is brought by the next run. What a release is has
// been signed before it ran, so that until then its record can be told from one
// that somebody else has made.

const (
	kindSignature = "signature"
	// partContent is the attachment with the signature of the content.
	partContent = "content.sig"
	// unsignedLookback is how many earlier records the next run looks at for a signature that is missing.
	unsignedLookback = 4
)

// signatureName is the entry with the signature of another entry.
func signatureName(entry string) string {
	digits, kind, _ := strings.Cut(entry, "-")
	return strings.TrimSuffix(digits+"-"+kindSignature+"-"+kind, "-")
}

// content is what a release is, without its number and what became of it.
type content struct {
	Type        string        `json:"type"`
	App         string        `json:"app"`
	SHA         string        `json:"sha"`
	Version     string        `json:"version"`
	Roles       []contentRole `json:"roles"`
	ObjectsHash string        `json:"objectsHash"`
}

type contentRole struct {
	Name       string         `json:"name"`
	Target     release.Target `json:"target"`
	Image      string         `json:"image"`
	Repository string         `json:"repository"`
	Digest     string         `json:"digest"`
	Aliases    []string       `json:"aliases,omitempty"`
	Key        string         `json:"key,omitempty"`
}

// contentOf is the content of a record in the form in which it is signed.
func contentOf(rec release.Record) ([]byte, error) {
	c := content{
		Type: "https://shipit.dev/content/v1", App: rec.App, SHA: rec.SHA, Version: rec.Version, ObjectsHash: rec.ObjectsHash,
	}
	for _, r := range rec.Roles {
		c.Roles = append(c.Roles, contentRole{r.Name, r.Target, r.Image, r.Repository, r.Digest, r.Aliases, r.Key})
	}
	return encode(c)
}

// SignContent signs what a release is, before it runs, and returns the attachment
// to give to Begin: nothing if this ledger signs nothing. stored are the attachments of the
// record that is rolled out again; its signature is of the same content, and is
// taken over, so that a rollback needs no signer.
func (l *Ledger) SignContent(ctx context.Context, rel release.Release, stored map[string][]byte) (map[string][]byte, error) {
	if signature, ok := stored[partContent]; ok {
		return map[string][]byte{partContent: signature}, nil
	}
	if l.opts.Sign == nil {
		return nil, nil
	}
	rel.App = l.app
	signed, err := contentOf(release.Begin(rel, l.now()))
	if err != nil {
		return nil, err
	}
	signature, err := l.opts.Sign(ctx, signed)
	if err != nil {
		return nil, fmt.Errorf("sign what is released: %w", err)
	}
	return map[string][]byte{partContent: signature}, nil
}

// Sign brings the signatures of what this run has sealed, and returns them as they
// are stored, to be copied. It needs no lock. One that cannot be brought is brought
// by the next run.
func (l *Ledger) Sign(ctx context.Context, sealed ...Sealed) ([]Sealed, error) {
	if l.opts.Sign == nil {
		return nil, nil
	}
	var brought []Sealed
	var failed []error
	for _, s := range sealed {
		signature, err := l.signEntry(ctx, s.entry)
		if err != nil {
			failed = append(failed, fmt.Errorf("sign record %s: %w", s.entry.Name, err))
			continue
		}
		if signature.found() {
			brought = append(brought, Sealed{entry: signature})
		}
	}
	return brought, errors.Join(failed...)
}

// signEntry stores the signature of a sealed entry; nothing is found if another run
// has brought it already.
func (l *Ledger) signEntry(ctx context.Context, e StoredEntry) (StoredEntry, error) {
	made, err := l.opts.Sign(ctx, e.Parts[partRecord])
	if err != nil {
		return StoredEntry{}, err
	}
	signature := StoredEntry{Name: signatureName(e.Name), Parts: map[string][]byte{partSignature: made}, Sealed: true}
	signature.Version, err = l.store.Create(ctx, signature)
	return signature, err
}

// SignEarlier brings the signatures that earlier runs could not bring, of the
// records before a begun one. It signs only what Begin has sealed, or what can
// be told to be ours without a signature.
func (l *Ledger) SignEarlier(ctx context.Context, begun Begun) ([]Sealed, error) {
	if l.opts.Sign == nil {
		return nil, nil
	}
	brought, err := l.Sign(ctx, begun.interrupted...)
	failed := []error{err}
	for seq := begun.Record.Seq - 1; seq > max(begun.Record.Seq-1-unsignedLookback, 0); seq-- {
		unsigned, err := l.unsigned(ctx, seq)
		if err != nil || unsigned == nil {
			failed = append(failed, err)
			continue
		}
		more, err := l.Sign(ctx, *unsigned)
		brought, failed = append(brought, more...), append(failed, err)
	}
	return brought, errors.Join(failed...)
}

// unsigned is the record of that number if it has no signature and is ours.
func (l *Ledger) unsigned(ctx context.Context, seq int64) (*Sealed, error) {
	var e Entry
	stored, next, err := l.readWithNext(ctx, seq)
	if err == nil {
		e, err = l.entryOf(stored)
	}
	var altered *AlteredError
	if errors.As(err, &altered) || err == nil && (!e.Sealed || linked(e, next.record()) != nil) {
		return nil, nil // what was altered is not signed
	}
	if err != nil {
		return nil, err
	}
	signature, err := l.signatureOf(ctx, e)
	if err != nil || signature != nil {
		return nil, err
	}
	if err := l.ours(ctx, e); err != nil {
		return nil, nil
	}
	return &Sealed{entry: StoredEntry{Name: recordName(seq), Parts: map[string][]byte{partRecord: e.Raw}, Version: "read", Sealed: true}}, nil
}

// signatureOf is the signature of a sealed record; nil if there is none yet.
func (l *Ledger) signatureOf(ctx context.Context, e Entry) ([]byte, error) {
	if e.Signature != nil {
		return e.Signature, nil
	}
	read := l.read
	if e.archived {
		read = l.lookup
	}
	entry, err := read(ctx, signatureName(recordName(e.Record.Seq)))
	return entry.Parts[partSignature], err
}

// verifySignature checks the signature of a sealed record. One that has none
// yet is believed if it can be told to be ours.
func (l *Ledger) verifySignature(ctx context.Context, e Entry) error {
	if l.opts.VerifySignature == nil || !e.Sealed {
		return nil
	}
	signature, err := l.signatureOf(ctx, e)
	if err != nil {
		return err
	}
	if signature == nil {
		return l.ours(ctx, e)
	}
	if err := l.opts.VerifySignature(ctx, e.Raw, signature); err != nil {
		return &AlteredError{Seq: e.Record.Seq, Field: "signature", Message: err.Error()}
	}
	return nil
}

// ours tells whether a record that has no signature yet is one of ours: it
// follows the record before it, and what it rolled out was signed before it ran,
// or was that of a record that is signed. Otherwise it is an *AlteredError.
func (l *Ledger) ours(ctx context.Context, e Entry) error {
	rec := e.Record
	before, err := l.lookup(ctx, recordName(rec.Previous))
	if err != nil {
		return err
	}
	if before.found() && hash(before.Parts[partRecord]) != rec.PreviousHash {
		return &AlteredError{Seq: rec.Seq, Field: "signature", Message: fmt.Sprintf("there is none, and it does not follow #%d", rec.Previous)}
	}
	signed, err := contentOf(rec)
	if err != nil {
		return err
	}
	signature := e.Attachments[partContent]
	switch {
	case l.opts.VerifySignature == nil:
		return &AlteredError{Seq: rec.Seq, Field: "signature", Message: "there is none, and no policy says whose signature of its content counts"}
	case signature != nil:
		if err := l.opts.VerifySignature(ctx, signed, signature); err != nil {
			return &AlteredError{Seq: rec.Seq, Field: "signature", Message: "there is none, and that of its content: " + err.Error()}
		}
		return nil
	case rec.Origin > 0 && rec.Origin < rec.Seq:
		return l.repeats(ctx, e, signed)
	}
	return &AlteredError{Seq: rec.Seq, Field: "signature", Message: "there is none"}
}

// repeats compares a rollback with the record that it went back to.
func (l *Ledger) repeats(ctx context.Context, e Entry, signed []byte) error {
	origin, err := l.Read(ctx, e.Record.Origin)
	if err == nil && !origin.Record.Good() {
		err = fmt.Errorf("#%d is not good", e.Record.Origin)
	}
	if err != nil {
		return &AlteredError{Seq: e.Record.Seq, Field: "signature", Message: "there is none, and of what it repeats: " + err.Error()}
	}
	if same, err := contentOf(origin.Record); err != nil || string(same) != string(signed) {
		return &AlteredError{Seq: e.Record.Seq, Field: "signature", Message: fmt.Sprintf("there is none, and it is not what #%d was", e.Record.Origin)}
	}
	return nil
}
