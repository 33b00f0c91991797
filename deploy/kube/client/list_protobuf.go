package client

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"

	"k8s.io/apimachinery/pkg/runtime"
)

// protobufMark is what an API server's answers in protobuf begin with. A runtime.Unknown
// follows, whose field 1 is the type and whose field 2 is the object.
var protobufMark = []byte("k8s\x00")

const (
	typeField  = 1 // of a runtime.Unknown
	rawField   = 2
	itemsField = 2 // of every list

	// largestObject bounds what is read at once: etcd takes no object of more than 1.5 MiB.
	largestObject = 16 << 20
)

// eachInProtobuf calls each with every item of a list of that kind, which it may not keep.
func eachInProtobuf(in *bufio.Reader, kind string, each func(item []byte) error) error {
	if _, err := in.Discard(len(protobufMark)); err != nil {
		return cutOff(err)
	}
	var buffer []byte // used again and again
	listed := false
	err := eachField(in, func(field, size uint64) (err error) {
		switch field {
		case typeField:
			if buffer, err = readInto(buffer, in, size); err != nil {
				return err
			}
			var is runtime.TypeMeta
			if err := is.Unmarshal(buffer); err != nil || is.Kind != kind {
				return fmt.Errorf("the answer is no %s but %q", kind, is.Kind)
			}
			return nil
		case rawField:
			listed = true
			list := bufio.NewReader(&whole{from: in, left: size})
			return eachField(list, func(field, size uint64) (err error) {
				if buffer, err = readInto(buffer, list, size); err != nil || field != itemsField {
					return err
				}
				return each(buffer)
			})
		}
		buffer, err = readInto(buffer, in, size)
		return err
	})
	if err == nil && !listed {
		err = io.ErrUnexpectedEOF
	}
	return err
}

// eachField calls each with the number and the size of every field of a message, all of
// which have a length; each reads the field.
func eachField(in *bufio.Reader, each func(field, size uint64) error) error {
	const lengthDelimited = 2
	for {
		if _, err := in.Peek(1); err == io.EOF { //nolint:errorlint // a reader's end is never wrapped
			return nil
		}
		tag, err := binary.ReadUvarint(in)
		if err != nil {
			return cutOff(err)
		}
		if tag&7 != lengthDelimited {
			return fmt.Errorf("the answer is no list: its field %d has no length", tag>>3)
		}
		size, err := binary.ReadUvarint(in)
		if err != nil {
			return cutOff(err)
		}
		if err := each(tag>>3, size); err != nil {
			return err
		}
	}
}

// readInto reads as many bytes into a buffer, which grows as it must.
func readInto(buffer []byte, in io.Reader, size uint64) ([]byte, error) {
	if size > largestObject {
		return buffer, fmt.Errorf("an object of %d bytes is no object", size)
	}
	if uint64(cap(buffer)) < size {
		buffer = make([]byte, size)
	}
	buffer = buffer[:size]
	_, err := io.ReadFull(in, buffer)
	return buffer, cutOff(err)
}

// whole is the next part of a reader, which ends too early where the reader does.
type whole struct {
	from io.Reader
	left uint64
}

func (w *whole) Read(p []byte) (int, error) {
	if w.left == 0 {
		return 0, io.EOF
	}
	n, err := w.from.Read(p[:min(uint64(len(p)), w.left)])
	if w.left -= uint64(n); err != nil && w.left > 0 {
		err = cutOff(err)
	}
	return n, err
}
