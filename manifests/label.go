package manifests

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
)

const (
	labelApp    = "shipit.dev/app"
	labelRole   = "shipit.dev/role"
	noteSHA     = "shipit.dev/sha"
	noteVersion = "shipit.dev/version"
	labelSet    = "applyset.kubernetes.io/part-of"
)

// applySetName names the ConfigMap, in the role's namespace, that is the parent
// of the role's objects. Neither an app's name nor a role's has a dot in it, so that
// no two roles share a name, nor a role and a record.
func applySetName(app, role string) string { return "shipit-" + app + "." + role }

// applySetID is the id of the set of objects whose parent is the ConfigMap of
// that name, as KEP-3659 defines it (v1): the value of the label
// applyset.kubernetes.io/part-of on members and applyset.kubernetes.io/id on
// the parent.
func applySetID(name, namespace string) string {
	sum := sha256.Sum256([]byte(name + "." + namespace + ".ConfigMap."))
	return "applyset-" + base64.RawURLEncoding.EncodeToString(sum[:]) + "-v1"
}

// label names the object's app and role by the ecosystem's conventions. What
// changes from commit to commit is in annotations of the object alone: in a
// pod template it would restart pods whose bits are equal.
func label(in roleInput, o object) {
	labels := ensure(o.metadata(), "labels")
	for key, value := range conventional(in.App, in.Role.Name) {
		if _, set := labels[key]; !set {
			labels[key] = value
		}
	}
	labels["app.kubernetes.io/managed-by"] = "shipit"
	labels[labelApp], labels[labelRole] = in.App, in.Role.Name
	labels[labelSet] = applySetID(applySetName(in.App, in.Role.Name), in.Role.Kubernetes.Namespace)

	notes := ensure(o.metadata(), "annotations")
	notes[noteSHA] = in.SHA
	if in.Version != "" {
		notes[noteVersion] = in.Version
	}
	if o.kind() == "Pod" && o.group() == "" {
		return
	}
	for _, template := range o.podTemplates() {
		// Never the conventional ones: a user's Service may select by them.
		l := ensure(ensure(template, "metadata"), "labels")
		l[labelApp], l[labelRole] = in.App, in.Role.Name
	}
}

// conventional are the recommended labels that say what an object belongs to.
func conventional(app, role string) map[string]string {
	return map[string]string{
		"app.kubernetes.io/name":      app,
		"app.kubernetes.io/instance":  instance(app, role),
		"app.kubernetes.io/component": role,
		"app.kubernetes.io/part-of":   app,
	}
}

// instance is app-role, cut to the 63 characters of a label's value or an
// object's name.
func instance(app, role string) string {
	full := app + "-" + role
	if len(full) <= 63 {
		return full
	}
	sum := sha256.Sum256([]byte(full))
	return full[:54] + "-" + hex.EncodeToString(sum[:4])
}
