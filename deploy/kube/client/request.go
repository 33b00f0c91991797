package client

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"

	"github.com/joelhooks/shipit/deploy/kube/object"
)

func (c *Client) rest() rest.Interface { return c.typed.rest }

// bodyOf is the body of an answer, or the error that the API server put into it:
// Raw alone knows the code of the answer and none of its words.
func bodyOf(res rest.Result) ([]byte, error) {
	if err := res.Error(); err != nil {
		return nil, err
	}
	return res.Raw()
}

// discover reads what the server says at a path of its discovery. It takes half a
// minute at most.
func (c *Client) discover(path string, into any) error {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	body, err := bodyOf(c.rest().Get().AbsPath(path).SetHeader("Accept", "application/json").Do(ctx))
	if err != nil {
		return err
	}
	return json.Unmarshal(body, into)
}

// Get reads one object.
func (c *Client) Get(ctx context.Context, k object.Kind, namespace, name string) (*unstructured.Unstructured, error) {
	u := &unstructured.Unstructured{}
	err := c.retry(ctx, func() error {
		body, err := bodyOf(c.rest().Get().AbsPath(k.Path(namespace, name)).SetHeader("Accept", "application/json").Do(ctx))
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

// List reads the objects of a kind that a label selector selects; an empty one
// selects all. Namespace "" is the whole cluster.
func (c *Client) List(ctx context.Context, k object.Kind, namespace, selector string) ([]unstructured.Unstructured, error) {
	return c.list(ctx, k, namespace, "labelSelector", selector)
}

// Find reads one object by a list request, so that the permission to list is
// enough; nil: it does not exist, or its kind does not.
func (c *Client) Find(ctx context.Context, k object.Kind, namespace, name string) (*unstructured.Unstructured, error) {
	items, err := c.list(ctx, k, namespace, "fieldSelector", "metadata.name="+name)
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil || len(items) == 0 {
		return nil, err
	}
	return &items[0], nil
}

// Live reads the live state of objects of one kind and namespace: by name if they
// are few, else in one list by the labels that they have in common. One that does
// not exist is left out.
func (c *Client) Live(ctx context.Context, objects []*object.Object) ([]*unstructured.Unstructured, error) {
	var found []*unstructured.Unstructured
	if len(objects) <= 2 {
		for _, o := range objects {
			u, err := c.Get(ctx, o.Kind, o.ID.Namespace, o.ID.Name)
			switch {
			case apierrors.IsNotFound(err):
			case err != nil:
				return nil, err
			default:
				found = append(found, u)
			}
		}
		return found, nil
	}
	var common map[string]string
	names := map[string]bool{}
	for _, o := range objects {
		names[o.ID.Name] = true
		common = object.CommonLabels(common, o.Body.GetLabels())
	}
	items, err := c.List(ctx, objects[0].Kind, objects[0].ID.Namespace, labels.Set(common).String())
	for i := range items {
		if names[items[i].GetName()] {
			found = append(found, &items[i])
		}
	}
	return found, err
}

// ApplyOptions are the parameters of one server-side apply.
type ApplyOptions struct {
	Force  bool // take over fields that other managers own
	DryRun bool
	Strict bool // refuse fields that the schema does not have
	Whole  bool // answer with the whole object, not only its metadata
	// Manager is the field manager; default object.Manager.
	Manager string
}

// Applied is what the server answers to a server-side apply.
type Applied struct {
	Created bool
	Version string                     // resourceVersion
	Object  *unstructured.Unstructured // if the whole of it was asked for
}

// Apply sends one server-side apply.
func (c *Client) Apply(ctx context.Context, o *object.Object, body map[string]any, how ApplyOptions) (Applied, error) {
	data, err := json.Marshal(body)
	if err != nil {
		return Applied{}, fmt.Errorf("%s: %w", o.ID, err)
	}
	var got Applied
	err = c.retry(ctx, func() error {
		req := c.rest().Patch(types.ApplyPatchType).AbsPath(o.Kind.Path(o.ID.Namespace, o.ID.Name)).
			Param("fieldManager", cmp.Or(how.Manager, object.Manager)).Param("force", strconv.FormatBool(how.Force)).Body(data)
		if how.DryRun {
			req = req.Param("dryRun", metav1.DryRunAll)
		}
		if how.Strict {
			req = req.Param("fieldValidation", metav1.FieldValidationStrict)
		}
		accept := "application/json"
		if !how.Whole {
			accept = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json"
		}
		var code int
		reply, err := bodyOf(req.SetHeader("Accept", accept).Do(ctx).StatusCode(&code))
		if err != nil {
			return err
		}
		got, err = readApplied(reply, how.Whole)
		got.Created = code == 201
		return err
	})
	return got, err
}

// PatchOperation is one step of a JSON patch.
type PatchOperation struct {
	Op    string `json:"op"`
	Path  string `json:"path"`
	Value any    `json:"value,omitempty"`
}

// Patch changes one object by a JSON patch, and returns it as it is then. Of the
// options DryRun and Strict count.
func (c *Client) Patch(ctx context.Context, o *object.Object, patch []PatchOperation, how ApplyOptions) (*unstructured.Unstructured, error) {
	data, err := json.Marshal(patch)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", o.ID, err)
	}
	u := &unstructured.Unstructured{}
	err = c.retry(ctx, func() error {
		req := c.rest().Patch(types.JSONPatchType).AbsPath(o.Kind.Path(o.ID.Namespace, o.ID.Name)).Param("fieldManager", object.Manager).Body(data)
		if how.DryRun {
			req = req.Param("dryRun", metav1.DryRunAll)
		}
		if how.Strict {
			req = req.Param("fieldValidation", metav1.FieldValidationStrict)
		}
		body, err := bodyOf(req.SetHeader("Accept", "application/json").Do(ctx))
		if err != nil {
			return err
		}
		return u.UnmarshalJSON(body)
	})
	return u, err
}

func readApplied(reply []byte, whole bool) (Applied, error) {
	if whole {
		u := &unstructured.Unstructured{}
		err := u.UnmarshalJSON(reply)
		return Applied{Object: u, Version: u.GetResourceVersion()}, err
	}
	var m struct {
		Metadata struct {
			ResourceVersion string `json:"resourceVersion"`
		} `json:"metadata"`
	}
	err := json.Unmarshal(reply, &m)
	return Applied{Version: m.Metadata.ResourceVersion}, err
}

// Delete deletes one object if it still has that UID. That it no longer exists is
// no error.
func (c *Client) Delete(ctx context.Context, k object.Kind, id object.ID, uid types.UID) error {
	policy := metav1.DeletePropagationBackground
	body, err := json.Marshal(metav1.DeleteOptions{
		TypeMeta:          metav1.TypeMeta{APIVersion: "v1", Kind: "DeleteOptions"},
		PropagationPolicy: &policy,
		Preconditions:     &metav1.Preconditions{UID: &uid},
	})
	if err != nil {
		return err
	}
	err = c.retry(ctx, func() error {
		return c.rest().Delete().AbsPath(k.Path(id.Namespace, id.Name)).SetHeader("Content-Type", "application/json").Body(body).Do(ctx).Error()
	})
	if IsGone(err) {
		return nil
	}
	return err
}

// RemoveLabel takes a label from one object if it still has that UID. That it no
// longer exists is no error.
func (c *Client) RemoveLabel(ctx context.Context, k object.Kind, id object.ID, uid types.UID, label string) error {
	body := fmt.Sprintf(`{"metadata":{"uid":%q,"labels":{%q:null}}}`, uid, label)
	err := c.retry(ctx, func() error {
		return c.rest().Patch(types.MergePatchType).AbsPath(k.Path(id.Namespace, id.Name)).Param("fieldManager", object.Manager).
			Body([]byte(body)).Do(ctx).Error()
	})
	if IsGone(err) {
		return nil
	}
	return err
}

// IsForbidden is the *ForbiddenError that err is or wraps; nil if it is another error.
func IsForbidden(err error) *ForbiddenError {
	var forbidden *ForbiddenError
	if errors.As(err, &forbidden) {
		return forbidden
	}
	return nil
}
