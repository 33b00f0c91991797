package manifests

import (
	"bytes"
	"encoding/json"
	"fmt"

	"github.com/joelhooks/shipit/release"
)

// compose renders the roles of one release, in their order, and gives the objects
// of each. An object that several roles bring equally is the first one's; what
// they bring unequally is an *Error.
func compose(ins []roleInput) ([][]json.RawMessage, error) {
	roles := make([][]object, 0, len(ins))
	for _, in := range ins {
		render, ok := renderers()[in.Role.Target()]
		if !ok {
			return nil, &Error{
				Code: release.CodeBadManifest, Object: "role " + in.Role.Name,
				Msg: fmt.Sprintf("has no target that can be rendered, but %q", in.Role.Target()),
			}
		}
		objects, err := render(in)
		if err != nil {
			return nil, err
		}
		roles = append(roles, objects)
	}
	if err := oneOwner(ins, roles); err != nil {
		return nil, err
	}
	hashConfig(ins, roles)
	out := make([][]json.RawMessage, 0, len(roles))
	for _, objects := range roles {
		encoded, err := encode(objects)
		if err != nil {
			return nil, err
		}
		out = append(out, encoded)
	}
	return out, nil
}

// render is compose for a release of one role.
func render(in roleInput) ([]json.RawMessage, error) {
	objects, err := compose([]roleInput{in})
	if err != nil {
		return nil, err
	}
	return objects[0], nil
}

// declared is an object and the role that brought it first.
type declared struct {
	object
	role int
}

// oneOwner leaves each object to the first role that brings it.
func oneOwner(ins []roleInput, roles [][]object) error {
	first := map[string]declared{}
	for i, objects := range roles {
		if ins[i].Role.Kubernetes == nil {
			continue
		}
		var kept []object
		for _, o := range objects {
			key := o.group() + "/" + o.id()
			before, shared := first[key]
			if !shared {
				first[key] = declared{o, i}
				kept = append(kept, o)
				continue
			}
			if !bytes.Equal(neutral(ins[before.role], before.object), neutral(ins[i], o)) {
				return o.fault(release.CodeDuplicate,
					fmt.Sprintf("is declared by the roles %s and %s, and not equally", ins[before.role].Role.Name, ins[i].Role.Name),
					"keep it in one role; an equal one is owned by the first, and images and environment are the role's")
			}
		}
		if len(kept) == 0 {
			return &Error{
				Code: release.CodeDuplicate, Object: "role " + ins[i].Role.Name, Msg: "brings nothing that the roles before it do not bring",
				Hint: "give each role manifests of its own, or make one role of them",
			}
		}
		roles[i] = kept
	}
	return nil
}

// neutral is an object without what label wrote of its role.
func neutral(in roleInput, o object) []byte {
	data, err := json.Marshal(o.fields)
	if err != nil {
		return nil // it cannot be encoded either, which says so
	}
	bare, err := decode(data)
	if err != nil {
		return nil
	}
	labels := mapping(bare.metadata(), "labels")
	for key, value := range conventional(in.App, in.Role.Name) {
		if labels[key] == value {
			delete(labels, key)
		}
	}
	delete(labels, labelRole)
	delete(labels, labelSet)
	for _, template := range bare.podTemplates() {
		delete(mapping(mapping(template, "metadata"), "labels"), labelRole)
	}
	data, _ = json.Marshal(bare.fields)
	return data
}
