package compare

import (
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"github.com/joelhooks/shipit/deploy/kube/object"
)

// serverDefaults stands in for a manager: what the API server fills in has none, and
// so stays when something else is applied.
const serverDefaults = "the API server's defaults"

// strategies are where the workloads keep how their pods are replaced.
var strategies = map[string]string{"Deployment": "strategy", "StatefulSet": "updateStrategy", "DaemonSet": "updateStrategy"}

// obsoleteDefaults are the settings of a rolling update that the API server has filled
// in and that nobody owns, where want has another strategy: beside that they are
// invalid, or mean nothing.
func obsoleteDefaults(want map[string]any, live *unstructured.Unstructured) *fieldpath.Set {
	unowned := fieldpath.NewSet()
	name := strategies[live.GetKind()]
	if name == "" || object.IDOf(live).Group != "apps" {
		return unowned
	}
	kind, stated, _ := unstructured.NestedString(want, "spec", name, "type")
	_, rolling, _ := unstructured.NestedFieldNoCopy(want, "spec", name, "rollingUpdate")
	at := fieldpath.MakePathOrDie("spec", name, "rollingUpdate")
	settings, exists := lookup(live.Object, at)
	if !stated || kind == "RollingUpdate" || rolling || !exists {
		return unowned
	}
	unowned.Insert(at)
	walk(settings, at, func(path fieldpath.Path) bool {
		unowned.Insert(path.Copy())
		return true
	})
	for _, m := range managersOf(live) {
		unowned = unowned.Difference(m.fields)
	}
	return unowned
}
