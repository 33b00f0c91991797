package kube

import (
	"context"
	"encoding/json"
	"fmt"
	"sort"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"github.com/joelhooks/shipit/release"
)

// Drift lists what another hand has changed in the role's objects: fields that
// the release sets and another manager holds with another value, and objects
// that are gone. What the policy cedes, and replicas that an autoscaler holds,
// is no drift. One request a kind and namespace is made.
func (c *Cluster) Drift(ctx context.Context, role release.Role, o ApplyOptions) ([]release.Drift, error) {
	objects, _, inv, err := c.stock(ctx, role, o)
	if err != nil {
		return nil, err
	}
	p := o.policy()
	var out []release.Drift
	for _, obj := range objects {
		live := inv.members[obj.id].live
		if live == nil {
			out = append(out, release.Drift{Role: role.Name, Kind: release.DriftObject, Wanted: obj.id.String(), Live: "nothing", Detail: obj.id.String() + " is gone, or no longer labelled as part of the release"})
			continue
		}
		out = append(out, driftOf(role.Name, obj, live, p)...)
	}
	return out, nil
}

// driftOf compares one object field by field.
func driftOf(role string, o *object, live *unstructured.Unstructured, p policy) []release.Drift {
	want := o.body.DeepCopy().Object
	cedeBeforehand(want, live, p)
	if covers(want, live.Object) {
		return nil
	}
	var out []release.Drift
	for _, holder := range others(live) {
		leaves(holder.fields, func(path fieldpath.Path) {
			ours, said := lookup(want, path)
			theirs, there := lookup(live.Object, path)
			if !said || there && covers(ours, theirs) {
				return
			}
			d := release.Drift{Role: role, Kind: release.DriftObject, Wanted: brief(ours), Live: brief(theirs),
				Detail: fmt.Sprintf("%s: %s was set by %q", o.id, readable(path), holder.manager)}
			if o.id.Kind == "Secret" {
				d.Wanted, d.Live = "(hidden)", "(hidden)"
			}
			out = append(out, d)
		})
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Detail < out[j].Detail })
	return out
}

// brief is a value on one short line.
func brief(v any) string {
	if s, ok := v.(string); ok {
		return clip(s)
	}
	text, err := json.Marshal(v)
	if err != nil {
		return clip(fmt.Sprint(v))
	}
	return clip(string(text))
}
