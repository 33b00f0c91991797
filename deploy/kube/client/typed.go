package client

import (
	"context"
	"fmt"
	"net/http"

	authorizationv1 "k8s.io/api/authorization/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/pager"

	"github.com/joelhooks/shipit/deploy/kube/object"
)

// The kinds that are read or written as Go types; all others are unstructured.
var (
	ConfigMaps    = object.Kind{GVR: corev1.SchemeGroupVersion.WithResource("configmaps"), Namespaced: true}
	Pods          = object.Kind{GVR: corev1.SchemeGroupVersion.WithResource("pods"), Namespaced: true}
	Events        = object.Kind{GVR: corev1.SchemeGroupVersion.WithResource("events"), Namespaced: true}
	Secrets       = object.Kind{GVR: corev1.SchemeGroupVersion.WithResource("secrets"), Namespaced: true}
	Quotas        = object.Kind{GVR: corev1.SchemeGroupVersion.WithResource("resourcequotas"), Namespaced: true}
	Nodes         = object.Kind{GVR: corev1.SchemeGroupVersion.WithResource("nodes")}
	Leases        = object.Kind{GVR: coordinationv1.SchemeGroupVersion.WithResource("leases"), Namespaced: true}
	Namespaces    = object.Kind{GVR: corev1.SchemeGroupVersion.WithResource("namespaces")}
	RulesReviews  = object.Kind{GVR: authorizationv1.SchemeGroupVersion.WithResource("selfsubjectrulesreviews")}
	AccessReviews = object.Kind{GVR: authorizationv1.SchemeGroupVersion.WithResource("selfsubjectaccessreviews")}
	Endpoints     = object.Kind{GVR: discoveryv1.SchemeGroupVersion.WithResource("endpointslices"), Namespaced: true}
	Autoscalers   = object.Kind{GVR: schema.GroupVersionResource{Group: "autoscaling", Version: "v2", Resource: "horizontalpodautoscalers"}, Namespaced: true}
	ReplicaSets   = object.Kind{GVR: schema.GroupVersionResource{Group: "apps", Version: "v1", Resource: "replicasets"}, Namespaced: true}
)

// typedClient reads and writes Go types in protobuf. It registers the groups that
// are used here: client-go's own client registers every group that exists, which
// takes longer than a release that changes nothing.
type typedClient struct {
	rest   rest.Interface
	params runtime.ParameterCodec
}

func newTypedClient(cfg *rest.Config, over *http.Client) (typedClient, error) {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{corev1.AddToScheme, coordinationv1.AddToScheme, authorizationv1.AddToScheme, discoveryv1.AddToScheme} {
		if err := add(scheme); err != nil {
			return typedClient{}, err
		}
	}
	cfg = rest.CopyConfig(cfg)
	cfg.ContentType = runtime.ContentTypeProtobuf
	cfg.AcceptContentTypes = runtime.ContentTypeProtobuf + "," + runtime.ContentTypeJSON
	cfg.APIPath, cfg.GroupVersion = "/api", &schema.GroupVersion{Version: "v1"} // every request names its own path
	cfg.NegotiatedSerializer = serializer.NewCodecFactory(scheme).WithoutConversion()
	client, err := rest.RESTClientForConfigAndClient(cfg, over)
	return typedClient{rest: client, params: runtime.NewParameterCodec(scheme)}, err
}

// GetInto reads one object into its Go type.
func (c *Client) GetInto(ctx context.Context, k object.Kind, namespace, name string, into runtime.Object) error {
	return c.retry(ctx, func() error { return c.rest().Get().AbsPath(k.Path(namespace, name)).Do(ctx).Into(into) })
}

// ListInto reads a list into its Go type.
func (c *Client) ListInto(ctx context.Context, k object.Kind, namespace string, o metav1.ListOptions, into runtime.Object) error {
	return c.retry(ctx, func() error {
		return c.rest().Get().AbsPath(k.Path(namespace, "")).VersionedParams(&o, c.typed.params).Do(ctx).Into(into)
	})
}

// EachConfigMap reads ConfigMaps, o.Limit of them at a time.
func (c *Client) EachConfigMap(ctx context.Context, namespace string, o metav1.ListOptions, each func(*corev1.ConfigMap) error) error {
	pages := pager.New(func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
		page := &corev1.ConfigMapList{}
		return page, c.ListInto(ctx, ConfigMaps, namespace, o, page)
	})
	pages.PageSize = o.Limit
	pages.PageBufferSize = 0 // one page in memory
	return pages.EachListItem(ctx, o, func(item runtime.Object) error {
		cm, ok := item.(*corev1.ConfigMap)
		if !ok {
			return fmt.Errorf("listed %T among ConfigMaps", item)
		}
		return each(cm)
	})
}

// ListMetadata reads the metadata of objects.
func (c *Client) ListMetadata(ctx context.Context, k object.Kind, namespace string, o metav1.ListOptions) (*metav1.PartialObjectMetadataList, error) {
	var list *metav1.PartialObjectMetadataList
	err := c.retry(ctx, func() (err error) {
		list, err = c.metadata.Resource(k.GVR).Namespace(namespace).List(ctx, o)
		return err
	})
	return list, err
}

// Create sends an object, once, and reads the answer into it. A question about
// rights, which creates nothing, is repeated like a read.
func (c *Client) Create(ctx context.Context, k object.Kind, namespace string, o runtime.Object, how metav1.CreateOptions) error {
	send := func() error {
		return c.rest().Post().AbsPath(k.Path(namespace, "")).VersionedParams(&how, c.typed.params).Body(o).Do(ctx).Into(o)
	}
	if k.GVR.Group == authorizationv1.GroupName {
		return c.retry(ctx, send)
	}
	return c.explain(send())
}

// Update sends an object, once, and reads the answer into it.
func (c *Client) Update(ctx context.Context, k object.Kind, namespace, name string, o runtime.Object) error {
	how := metav1.UpdateOptions{FieldManager: object.Manager}
	return c.explain(c.rest().Put().AbsPath(k.Path(namespace, name)).VersionedParams(&how, c.typed.params).Body(o).Do(ctx).Into(o))
}
