#!/bin/sh
# One node's part of the pod network: a bridge on the node's own pod range, and a route to every other node's.
# $NODE is this node's name, $PODS the range of all pods.
config=/host/etc/cni/net.d/10-bridge.conflist

nodes() {
  kubectl get nodes --output jsonpath='{range .items[*]}{.metadata.name} {.spec.podCIDR} {.status.addresses[?(@.type=="InternalIP")].address}{"\n"}{end}'
}

# The kubelet calls the node Ready once this file is there.
write_config() {
  cat > "$config.tmp" <<JSON
{"cniVersion": "0.4.0", "name": "pods", "plugins": [
  {"type": "bridge", "bridge": "cni0", "isGateway": true, "ipMasq": false, "hairpinMode": true,
   "ipam": {"type": "host-local", "ranges": [[{"subnet": "$1"}]], "routes": [{"dst": "0.0.0.0/0"}]}},
  {"type": "portmap", "capabilities": {"portMappings": true}}]}
JSON
  mv "$config.tmp" "$config"
}

# What pods send out of the cluster leaves under the node's address; what they send each other keeps theirs.
masquerade() {
  nft --file - <<NFT
table ip podmasq
delete table ip podmasq
table ip podmasq {
  chain post {
    type nat hook postrouting priority 110
    ip saddr $PODS ip daddr != $PODS fib daddr type != local masquerade
  }
}
NFT
}

masquerade
while :; do
  nodes > /tmp/nodes && while read -r name range address; do
    if [ -z "$range" ] || [ -z "$address" ]; then
      continue
    elif [ "$name" = "$NODE" ]; then
      [ -e "$config" ] || write_config "$range"
    else
      ip route replace "$range" via "$address"
    fi
  done < /tmp/nodes
  if [ -e "$config" ]; then sleep 5; else sleep 0.5; fi
done
