package main

import (
	"net/http"
	"net/http/httptest"
	"os/exec"
	"strings"

	"github.com/sigstore/cosign/v3/pkg/cosign"
	"github.com/stretchr/testify/require"

	"github.com/joelhooks/shipit/internal/faults"
)

func noKubectl() string {
	if _, err := exec.LookPath("kubectl"); err != nil {
		return "there is no kubectl on this machine"
	}
	return ""
}

// edits commits a change of shipit.yaml and of other files, under a version.
func (w *walk) edits(version, from, to string, files map[string]string) {
	w.t.Helper()
	text := w.repo.Read("shipit.yaml")
	require.Contains(w.t, text, from)
	edits := map[string]string{"shipit.yaml": strings.ReplaceAll(text, from, to)}
	for path, content := range files {
		edits[path] = content
	}
	w.repo.Commit(version, edits)
	w.repo.Git("tag", "-f", version)
}

// edition is the file that makes the image of a version another one.
func (w *walk) edition(version string) map[string]string {
	const path = "packages/system-bus/src/serve.ts"
	return map[string]string{path: w.repo.Read(path) + "\n// " + version + "\n"}
}

// secretRotated has pods that read a Secret as environment variables when they start.
func (w *walk) secretRotated() {
	w.sound()
	w.edits("v3.0.0", "      namespace: "+w.namespace(), "      namespace: "+w.namespace()+"\n      envFrom: ["+w.namespace()+"-env]", nil)
	w.types("kubectl -n " + w.namespace() + " create secret generic " + w.namespace() + "-env --from-literal=TOKEN=old --dry-run=client -o yaml | kubectl apply -f -")
	w.typed = 0
	w.does(0, "release")
	w.before[5] = w.awaitPods
}

// signs is what shipit.yaml says of signatures; policies trust the key beside the identity
// of the CI job.
const signs = "\nsigning: {mode: key, key: 'env:COSIGN_KEY', policy: {keys: [cosign.pub]}}\n"

// newKey gives the environment a key that signs, and returns its public half.
func (w *walk) newKey() string {
	w.t.Helper()
	pair, err := cosign.GenerateKeyPair(func(bool) ([]byte, error) { return []byte("secret"), nil })
	require.NoError(w.t, err)
	w.env = append(w.env, "COSIGN_PASSWORD=secret", "COSIGN_KEY="+string(pair.PrivateBytes))
	return string(pair.PublicBytes)
}

// signingKeyRotated has two releases that are signed by a key, and then another key.
func (w *walk) signingKeyRotated() {
	files := w.edition("v3.0.0")
	files["cosign.pub"] = w.newKey()
	w.sound()
	w.edits("v3.0.0", "timeout: 2m\n", "timeout: 2m"+signs, files)
	w.does(0, "release")
	files = w.edition("v3.1.0")
	files["cosign-2026.pub"] = w.newKey()
	w.edits("v3.1.0", "keys: [cosign.pub]", "keys: [cosign.pub, cosign-2026.pub]", files)
}

// sigstoreAway has two releases that the policy trusts, and a third that is to be signed
// keyless while Fulcio does not answer. The service that tells a CI job who it is answers.
func (w *walk) sigstoreAway() {
	away := faults.New(w.t, "http://127.0.0.1:1", nil)
	away.Have(&faults.Rule{Fault: faults.Hangup})
	w.names[away.URL] = "https://fulcio.sigstore.dev"
	job := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
		_, _ = rw.Write([]byte(`{"value":"e30.eyJpc3MiOiJodHRwczovL3Rva2VuLmFjdGlvbnMuZ2l0aHVidXNlcmNvbnRlbnQuY29tIiwic3ViIjoicmVwbzpidXNyaWcvYnVzcmlnIn0.e30"}`))
	}))
	w.t.Cleanup(job.Close)
	w.env = append(w.env, "ACTIONS_ID_TOKEN_REQUEST_URL="+job.URL+"/?run=1", "ACTIONS_ID_TOKEN_REQUEST_TOKEN=token")
	files := w.edition("v3.0.0")
	files["cosign.pub"] = w.newKey()
	files["trusted_root.json"] = `{"mediaType":"application/vnd.dev.sigstore.trustedroot+json;version=0.1"}`
	w.sound()
	w.edits("v3.0.0", "timeout: 2m\n", "timeout: 2m"+strings.Replace(signs, "keys: [cosign.pub]",
		`keys: [cosign.pub], identity: 'https://github\.com/busrig/busrig/.*', issuer: https://token.actions.githubusercontent.com`, 1), files)
	w.does(0, "release")
	w.edits("v3.1.0", "mode: key,", "mode: key, fulcio: '"+away.URL+"', rekor: '"+away.URL+"', trustedRoot: trusted_root.json,", w.edition("v3.1.0"))
	w.does(0, "release")
	w.edits("v3.2.0", "mode: key,", "mode: keyless,", w.edition("v3.2.0"))
}
