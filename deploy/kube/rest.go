package kube

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"strconv"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
)

// path is the address of a collection, or of one object in it.
func (k kind) path(namespace, name string) string {
	p := "/apis/" + k.gvr.Group + "/" + k.gvr.Version
	if k.gvr.Group == "" {
		p = "/api/" + k.gvr.Version
	}
	if k.namespaced && namespace != "" {
		p += "/namespaces/" + url.PathEscape(namespace)
	}
	p += "/" + k.gvr.Resource
	if name != "" {
		p += "/" + url.PathEscape(name)
	}
	return p
}

func (c *Cluster) raw() rest.Interface { return c.typed.rest }

// bodyOf is the body of an answer, or the error that the API server put into it:
// Raw alone knows the code of the answer and none of its words.
func bodyOf(res rest.Result) ([]byte, error) {
	if err := res.Error(); err != nil {
		return nil, err
	}
	return res.Raw()
}

// served reads what the server says at a path of its discovery. It takes half a
// minute at most.
func (c *Cluster) served(path string, into any) error {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	body, err := bodyOf(c.raw().Get().AbsPath(path).SetHeader("Accept", "application/json").Do(ctx))
	if err != nil {
		return err
	}
	return json.Unmarshal(body, into)
}

// fetch reads one object.
func (c *Cluster) fetch(ctx context.Context, k kind, namespace, name string) (*unstructured.Unstructured, error) {
	u := &unstructured.Unstructured{}
	err := c.patiently(ctx, func() error {
		body, err := bodyOf(c.raw().Get().AbsPath(k.path(namespace, name)).SetHeader("Accept", "application/json").Do(ctx))
		if err != nil {
			return err
		}
		return u.UnmarshalJSON(body)
	})
	if err != nil {
		return nil, err
	}
	return u, nil
}

// list reads the objects of a kind that carry a label; namespace "" is all of them.
func (c *Cluster) list(ctx context.Context, k kind, namespace, selector string) ([]unstructured.Unstructured, error) {
	var list unstructured.UnstructuredList
	err := c.patiently(ctx, func() error {
		req := c.raw().Get().AbsPath(k.path(namespace, "")).SetHeader("Accept", "application/json")
		if selector != "" {
			req = req.Param("labelSelector", selector)
		}
		body, err := bodyOf(req.Do(ctx))
		if err != nil {
			return err
		}
		return list.UnmarshalJSON(body)
	})
	return list.Items, err
}

// find reads one object by what a list may see; nil: it is not there.
func (c *Cluster) find(ctx context.Context, k kind, namespace, name string) (*unstructured.Unstructured, error) {
	var list unstructured.UnstructuredList
	err := c.patiently(ctx, func() error {
		body, err := bodyOf(c.raw().Get().AbsPath(k.path(namespace, "")).Param("fieldSelector", "metadata.name="+name).SetHeader("Accept", "application/json").Do(ctx))
		if err != nil {
			return err
		}
		return list.UnmarshalJSON(body)
	})
	if err != nil || len(list.Items) == 0 {
		if apierrors.IsNotFound(err) {
			err = nil // its kind is not there either
		}
		return nil, err
	}
	return &list.Items[0], nil
}

// patchOptions are the parameters of one server-side apply.
type patchOptions struct {
	force, dryRun, strict bool
	whole                 bool // answer with the whole object, not only its metadata
}

// answer is what the server says to a patch.
type answer struct {
	created bool
	version string                     // resourceVersion
	whole   *unstructured.Unstructured // if asked for
}

// patch sends one server-side apply.
func (c *Cluster) patch(ctx context.Context, o *object, body map[string]any, p patchOptions) (answer, error) {
	data, err := json.Marshal(body)
	if err != nil {
		return answer{}, fmt.Errorf("%s: %w", o.id, err)
	}
	var got answer
	err = c.patiently(ctx, func() error {
		req := c.raw().Patch(types.ApplyPatchType).AbsPath(o.kind.path(o.id.Namespace, o.id.Name)).
			Param("fieldManager", Manager).Param("force", strconv.FormatBool(p.force)).Body(data)
		if p.dryRun {
			req = req.Param("dryRun", "All")
		}
		if p.strict {
			req = req.Param("fieldValidation", "Strict")
		}
		accept := "application/json"
		if !p.whole {
			accept = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json"
		}
		var code int
		reply, err := bodyOf(req.SetHeader("Accept", accept).Do(ctx).StatusCode(&code))
		if err != nil {
			return err
		}
		got = answer{created: code == 201}
		if p.whole {
			got.whole = &unstructured.Unstructured{}
			err = got.whole.UnmarshalJSON(reply)
			got.version = got.whole.GetResourceVersion()
			return err
		}
		var m struct {
			Metadata struct {
				ResourceVersion string `json:"resourceVersion"`
			} `json:"metadata"`
		}
		err = json.Unmarshal(reply, &m)
		got.version = m.Metadata.ResourceVersion
		return err
	})
	return got, err
}

// remove deletes one object, if it is still the one that is meant. Being gone
// already is no error.
func (c *Cluster) remove(ctx context.Context, k kind, id ID, uid types.UID) error {
	policy := metav1.DeletePropagationBackground
	body, err := json.Marshal(metav1.DeleteOptions{
		TypeMeta:          metav1.TypeMeta{APIVersion: "v1", Kind: "DeleteOptions"},
		PropagationPolicy: &policy,
		Preconditions:     &metav1.Preconditions{UID: &uid},
	})
	if err != nil {
		return err
	}
	err = c.patiently(ctx, func() error {
		return c.raw().Delete().AbsPath(k.path(id.Namespace, id.Name)).SetHeader("Content-Type", "application/json").Body(body).Do(ctx).Error()
	})
	if isGone(err) {
		return nil
	}
	return err
}

// unlabel takes an object out of its set.
func (c *Cluster) unlabel(ctx context.Context, k kind, id ID, uid types.UID) error {
	body := fmt.Sprintf(`{"metadata":{"uid":%q,"labels":{%q:null}}}`, uid, partOfLabel)
	err := c.patiently(ctx, func() error {
		return c.raw().Patch(types.MergePatchType).AbsPath(k.path(id.Namespace, id.Name)).Param("fieldManager", Manager).
			Body([]byte(body)).Do(ctx).Error()
	})
	if isGone(err) {
		return nil
	}
	return err
}
