package apply

import (
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/joelhooks/shipit/deploy/kube/object"
)

// Owner names who else has a live object: another app, or what another tool deploys.
// Empty: nobody says that it is theirs. An object of another role of the same app has
// no other owner: objects move from role to role.
func (s Set) Owner(live *unstructured.Unstructured) string {
	labels := live.GetLabels()
	app := labels[object.AppLabel]
	switch id := labels[object.PartOfLabel]; {
	case app != "" && app != s.App:
		return "role " + labels[object.RoleLabel] + " of app " + app
	case app == "" && id != "" && !s.has(live):
		return "ApplySet " + id
	}
	for _, tool := range tools {
		if owner := tool(labels, live.GetAnnotations()); owner != "" {
			return owner
		}
	}
	if by := metav1.GetControllerOfNoCopy(live); by != nil {
		return "its controller, " + by.Kind + " " + by.Name
	}
	return ""
}

// tools say by whose labels and annotations an object is known to be deployed, each by
// the tool's own documentation.
var tools = []func(labels, annotations map[string]string) string{
	func(_, a map[string]string) string {
		return named("Helm release ", a["meta.helm.sh/release-namespace"], a["meta.helm.sh/release-name"])
	},
	func(l, a map[string]string) string {
		application, _, _ := strings.Cut(a["argocd.argoproj.io/tracking-id"], ":")
		if application == "" {
			application = l["argocd.argoproj.io/instance"]
		}
		return named("Argo CD application ", "", application)
	},
	func(l, _ map[string]string) string {
		return named("Flux Kustomization ", l["kustomize.toolkit.fluxcd.io/namespace"], l["kustomize.toolkit.fluxcd.io/name"])
	},
	func(l, _ map[string]string) string {
		return named("Flux HelmRelease ", l["helm.toolkit.fluxcd.io/namespace"], l["helm.toolkit.fluxcd.io/name"])
	},
	func(l, _ map[string]string) string { return named("kapp app ", "", l["kapp.k14s.io/app"]) },
}

func named(what, namespace, name string) string {
	switch {
	case name == "":
		return ""
	case namespace == "":
		return what + name
	}
	return what + namespace + "/" + name
}
