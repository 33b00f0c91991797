package attest

import "context"

// Identity is who signs, once it is certain that it can: the key was decrypted, or
// the CI job has told who it is. It is empty if nothing is signed.
func (a *Attestor) Identity(ctx context.Context) (string, error) {
	switch {
	case !a.Signs():
		return "", nil
	case a.cfg.Mode == "key":
		_, err := a.loadKey()
		return "the key " + a.cfg.Key, err
	default:
		_, err := a.identityToken(ctx)
		return "the identity of this CI job", err
	}
}
