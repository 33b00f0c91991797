package client

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/joelhooks/shipit/deploy/kube/object"
)

// Lists are read object by object as they arrive: neither the answer nor what it says is
// held as a whole, so that a list of a thousand costs what is kept of each.

// list reads unstructured objects, of which a parameter such as labelSelector chooses
// some.
func (c *Client) list(ctx context.Context, k object.Kind, namespace, parameter, selector string) ([]unstructured.Unstructured, error) {
	var found []unstructured.Unstructured
	err := c.retry(ctx, func() error {
		found = nil
		req := c.rest().Get().AbsPath(k.Path(namespace, "")).SetHeader("Accept", "application/json")
		if selector != "" {
			req = req.Param(parameter, selector)
		}
		body, err := req.Stream(ctx)
		if err != nil {
			return err
		}
		defer body.Close()
		of, err := eachInJSON(body, func(item []byte) error {
			u, err := object.Decode(item)
			found = append(found, u)
			return err
		})
		for i := range found {
			if u := &found[i]; u.GetKind() == "" { // a list of one built-in kind says it once
				u.SetKind(strings.TrimSuffix(of.Kind, "List"))
				u.SetAPIVersion(of.APIVersion)
			}
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return found, nil
}

// ListPods reads the pods that have labels. What keep leaves of each is held; nil keeps
// all of it.
func (c *Client) ListPods(ctx context.Context, namespace string, selected labels.Set, keep func(*corev1.Pod)) ([]*corev1.Pod, error) {
	var found []*corev1.Pod
	err := c.retry(ctx, func() error {
		found = nil
		req := c.rest().Get().AbsPath(Pods.Path(namespace, ""))
		if len(selected) > 0 {
			req = req.Param("labelSelector", selected.String())
		}
		body, err := req.Stream(ctx)
		if err != nil {
			return err
		}
		defer body.Close()
		add := func(p *corev1.Pod, err error) error {
			if err == nil {
				if keep != nil {
					keep(p)
				}
				found = append(found, p)
			}
			return err
		}
		in := bufio.NewReader(body)
		if head, err := in.Peek(len(protobufMark)); err == nil && bytes.Equal(head, protobufMark) {
			return eachInProtobuf(in, "PodList", func(item []byte) error {
				var p corev1.Pod
				return add(&p, p.Unmarshal(item))
			})
		}
		_, err = eachInJSON(in, func(item []byte) error { // what is between may speak nothing else
			var p corev1.Pod
			return add(&p, json.Unmarshal(item, &p))
		})
		return err
	})
	if err != nil {
		return nil, err
	}
	return found, nil
}

// listHead is what a list says of itself.
type listHead struct{ Kind, APIVersion string }

// eachInJSON calls each with the text of every item of a list, which it may not keep.
func eachInJSON(body io.Reader, each func(item []byte) error) (head listHead, err error) {
	in := json.NewDecoder(body)
	if err := open(in, '{'); err != nil {
		return head, err
	}
	var value json.RawMessage // used again and again
	listed := false
	for in.More() {
		key, err := in.Token()
		if err != nil {
			return head, cutOff(err)
		}
		switch key {
		case "kind":
			err = in.Decode(&head.Kind)
		case "apiVersion":
			err = in.Decode(&head.APIVersion)
		case "items":
			listed = true
			err = eachInArray(in, &value, each)
		default:
			err = in.Decode(&value)
		}
		if err != nil {
			return head, cutOff(err)
		}
	}
	if _, err := in.Token(); err != nil {
		return head, cutOff(err)
	}
	if _, err := in.Token(); !errors.Is(err, io.EOF) || head.Kind == "" || !listed {
		return head, fmt.Errorf("the answer is no list but %q", head.Kind)
	}
	return head, nil
}

// eachInArray calls each with the text of every item of the array that comes next; null
// is an empty one.
func eachInArray(in *json.Decoder, value *json.RawMessage, each func(item []byte) error) error {
	first, err := in.Token()
	if err != nil || first == nil {
		return err
	}
	if first != json.Delim('[') {
		return fmt.Errorf("the items of the list are %v", first)
	}
	for in.More() {
		if err := in.Decode(value); err != nil {
			return err
		}
		if err := each(*value); err != nil {
			return err
		}
	}
	_, err = in.Token()
	return err
}

func open(in *json.Decoder, want json.Delim) error {
	first, err := in.Token()
	if err != nil {
		return cutOff(err)
	}
	if first != want {
		return fmt.Errorf("the answer is no list but %v", first)
	}
	return nil
}

// cutOff is io.ErrUnexpectedEOF for an answer that ended too early.
func cutOff(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
