package cluster

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"syscall"
	"time"
	"unsafe"
)

const bridgeName = "shipit0"

// nodeTraces are what a real node leaves outside its folder when it is killed:
// the kernel ends its processes and mounts, but not these.
type nodeTraces struct {
	Bridge string `json:"bridge"`
	Cgroup string `json:"cgroup"`
}

// remove takes the traces away. Those that are not there, or not any more, are fine.
func (n *nodeTraces) remove() error {
	var errs []error
	if err := removeBridge(n.Bridge); err != nil {
		errs = append(errs, fmt.Errorf("remove the bridge %s: %w", n.Bridge, err))
	}
	if err := removeCgroups(n.Cgroup); err != nil {
		errs = append(errs, fmt.Errorf("remove the control group %s: %w", n.Cgroup, err))
	}
	return errors.Join(errs...)
}

// dropMachineLock removes the machine's lock file if owner is who is in it.
func dropMachineLock(owner mark) error {
	var last holder
	text, err := os.ReadFile(machineLock)
	if err != nil || json.Unmarshal(text, &last) != nil || last.Owner != owner {
		return nil //nolint:nilerr // it is not ours
	}
	return os.Remove(machineLock)
}

// subnet is a /24 for the pods; its first address is the bridge's.
type subnet struct{ netip.Prefix }

func (s subnet) gateway() netip.Addr { return s.Addr().Next() }

// freeSubnet gives one that no interface of this machine is in.
func freeSubnet() (subnet, error) {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return subnet{}, err
	}
	for third := range 64 {
		p := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 213, byte(third), 0}), 24)
		taken := false
		for _, a := range addrs {
			if own, err := netip.ParsePrefix(a.String()); err == nil && own.Overlaps(p) {
				taken = true
			}
		}
		if !taken {
			return subnet{p}, nil
		}
	}
	return subnet{}, errors.New("no free subnet for pods in 10.213.0.0/18")
}

// ifreq is the kernel's struct ifreq: a name, and a value by the request.
type ifreq struct {
	name  [syscall.IFNAMSIZ]byte
	value [24]byte
}

// The requests on bridges have no name in package syscall.
const siocBRAddBR, siocBRDelBR = 0x89a0, 0x89a1

// makeBridge makes a bridge that is up and has the address.
func makeBridge(name string, addr netip.Addr) error {
	s, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_DGRAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer syscall.Close(s)
	if err := ioctl(s, siocBRAddBR, bridgeIoctl(name)); err != nil {
		return err
	}
	for _, set := range []struct {
		request uintptr
		addr    [4]byte
	}{{syscall.SIOCSIFADDR, addr.As4()}, {syscall.SIOCSIFNETMASK, [4]byte{255, 255, 255, 0}}} {
		r := request(name)
		*(*uint16)(unsafe.Pointer(&r.value[0])) = syscall.AF_INET
		copy(r.value[4:], set.addr[:])
		if err := ioctl(s, set.request, unsafe.Pointer(r)); err != nil {
			return err
		}
	}
	return setFlags(s, name, syscall.IFF_UP)
}

func removeBridge(name string) error {
	if _, err := net.InterfaceByName(name); name == "" || err != nil {
		return nil //nolint:nilerr // it is not there
	}
	s, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_DGRAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer syscall.Close(s)
	if err := setFlags(s, name, 0); err != nil {
		return err
	}
	return ioctl(s, siocBRDelBR, bridgeIoctl(name))
}

func setFlags(s int, name string, flags uint16) error {
	r := request(name)
	*(*uint16)(unsafe.Pointer(&r.value[0])) = flags
	return ioctl(s, syscall.SIOCSIFFLAGS, unsafe.Pointer(r))
}

func request(name string) *ifreq {
	r := &ifreq{}
	copy(r.name[:len(r.name)-1], name)
	return r
}

func bridgeIoctl(name string) unsafe.Pointer { return unsafe.Pointer(&request(name).name) }

func ioctl(s int, request uintptr, arg unsafe.Pointer) error {
	if _, _, errno := syscall.Syscall(syscall.SYS_IOCTL, uintptr(s), request, uintptr(arg)); errno != 0 {
		return errno
	}
	return nil
}

// cgroupRoots are the folders of the hierarchies: one for all in version 2, one
// a controller in version 1.
func cgroupRoots() ([]string, error) {
	const base = "/sys/fs/cgroup"
	if _, err := os.Stat(filepath.Join(base, "cgroup.controllers")); err == nil {
		return []string{base}, nil
	}
	dirs, err := filepath.Glob(base + "/*/cgroup.procs")
	if err == nil && len(dirs) == 0 {
		err = errors.New("none are mounted on " + base)
	}
	for i, procs := range dirs {
		dirs[i] = filepath.Dir(procs)
	}
	return dirs, err
}

func makeCgroups(name string) error {
	roots, err := cgroupRoots()
	if err != nil {
		return err
	}
	for _, root := range roots {
		if err := os.Mkdir(filepath.Join(root, name), 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	return nil
}

// removeCgroups removes the group and what the kubelet made below it, as soon
// as the kernel has buried the last process in it.
func removeCgroups(name string) error {
	if name == "" {
		return nil
	}
	roots, err := cgroupRoots()
	if err != nil {
		return err
	}
	for _, root := range roots {
		limit := time.Now().Add(time.Minute)
		for {
			err := removeCgroup(filepath.Join(root, name))
			if err == nil {
				break
			}
			if time.Now().After(limit) {
				return err
			}
			time.Sleep(20 * time.Millisecond)
		}
	}
	return nil
}

// removeCgroup removes one group, the deepest first. Its files go with it.
func removeCgroup(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.IsDir() {
			if err := removeCgroup(filepath.Join(dir, e.Name())); err != nil {
				return err
			}
		}
	}
	return syscall.Rmdir(dir)
}
