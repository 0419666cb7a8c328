// SPDX-License-Identifier: Apache-2.0
#include "batches.h"

#include <net/if.h>
#include <linux/rtnetlink.h>
#include <unistd.h>

#include <cstdlib>
#include <string>
#include <vector>

#include "netlink.h"
#include "system.h"

namespace {

constexpr size_t kMaxFile = 4 << 20;

class Batch : public Napi::AsyncWorker {
public:
	Batch(Napi::Env env, const char *name)
		: Napi::AsyncWorker(env, name), deferred_(env)
	{
	}

	Napi::Promise Promise() const { return deferred_.Promise(); }

	void OnOK() override { deferred_.Resolve(Result(Env())); }

	void OnError(const Napi::Error &error) override
	{
		deferred_.Reject(error.Value());
	}

protected:
	virtual Napi::Value Result(Napi::Env env) = 0;

private:
	Napi::Promise::Deferred deferred_;
};

struct FileText {
	std::string text;
	bool read = false;
};

class ReadBatch : public Batch {
public:
	ReadBatch(Napi::Env env, std::vector<std::string> paths)
		: Batch(env, "slipway:readFiles"), paths_(std::move(paths)),
		  files_(paths_.size())
	{
	}

	void Execute() override
	{
		for (size_t i = 0; i < paths_.size(); i++) {
			char *data = nullptr;
			size_t len = 0;

			if (system_read_file(paths_[i].c_str(), kMaxFile, &data,
					     &len) < 0)
				continue;
			files_[i].text.assign(data, len);
			files_[i].read = true;
			free(data);
		}
	}

protected:
	Napi::Value Result(Napi::Env env) override
	{
		Napi::Array result = Napi::Array::New(env, files_.size());

		for (uint32_t i = 0; i < files_.size(); i++) {
			Napi::HandleScope scope(env);
			if (files_[i].read)
				result.Set(i, Napi::String::New(
						      env, files_[i].text));
			else
				result.Set(i, env.Null());
		}
		return result;
	}

private:
	std::vector<std::string> paths_;
	std::vector<FileText> files_;
};

const char *ScopeName(int scope)
{
	if (scope == RT_SCOPE_LINK)
		return "link";
	return scope == RT_SCOPE_HOST ? "local" : "global";
}

const char *TypeName(uint32_t flags)
{
	if (flags & IFF_LOOPBACK)
		return "loopback";
	return flags & IFF_POINTOPOINT ? "point-to-point" : "broadcast";
}

Napi::Array Addresses(Napi::Env env, const net_interface &from)
{
	Napi::Array list = Napi::Array::New(env);

	for (int i = 0; i < from.address_count; i++) {
		const net_address &a = from.addresses[i];
		Napi::Object object = Napi::Object::New(env);

		object.Set("family", a.family == AF_INET ? "inet" : "inet6");
		object.Set("address", a.text);
		object.Set("prefix", a.prefix);
		object.Set("scope", ScopeName(a.scope));
		list.Set(static_cast<uint32_t>(i), object);
	}
	return list;
}

Napi::Object Counters(Napi::Env env, const net_interface &from)
{
	static const char *const names[NET_COUNTERS] = {
		"bytesReceived",   "bytesSent",	      "packetsReceived",
		"packetsSent",	   "errorsReceived",  "errorsSent",
		"droppedInbound", "droppedOutbound",
	};
	Napi::Object object = Napi::Object::New(env);

	for (int i = 0; i < NET_COUNTERS; i++)
		object.Set(names[i], static_cast<double>(from.counters[i]));
	return object;
}

Napi::Object Interface(Napi::Env env, const net_interface &from)
{
	Napi::Object object = Napi::Object::New(env);

	object.Set("index", from.index);
	object.Set("name", from.name);
	object.Set("hwaddr", from.hwaddr);
	object.Set("mtu", from.mtu);
	object.Set("up", (from.flags & IFF_UP) != 0);
	object.Set("type", TypeName(from.flags));
	object.Set("peerIndex", from.peer);
	object.Set("addresses", Addresses(env, from));
	object.Set("counters", Counters(env, from));
	return object;
}

struct PidInterfaces {
	net_list list = {};
	bool read = false;
};

class NetBatch : public Batch {
public:
	NetBatch(Napi::Env env, std::vector<pid_t> pids)
		: Batch(env, "slipway:interfaces"), pids_(std::move(pids)),
		  found_(pids_.size())
	{
	}

	~NetBatch() override
	{
		for (PidInterfaces &each : found_)
			net_free(&each.list);
	}

	void Execute() override
	{
		int socket = net_open();

		if (socket < 0) {
			error_ = socket;
			return;
		}
		for (size_t i = 0; i < pids_.size(); i++)
			found_[i].read = net_read(socket, pids_[i],
						  &found_[i].list) == 0;
		close(socket);
	}

protected:
	Napi::Value Result(Napi::Env env) override
	{
		if (error_ < 0)
			return Napi::Number::New(env, error_);
		Napi::Array result = Napi::Array::New(env, found_.size());
		for (uint32_t i = 0; i < found_.size(); i++) {
			Napi::HandleScope scope(env);
			if (found_[i].read)
				result.Set(i, List(env, found_[i].list));
			else
				result.Set(i, env.Null());
		}
		return result;
	}

private:
	static Napi::Array List(Napi::Env env, const net_list &from)
	{
		Napi::Array list = Napi::Array::New(
			env, static_cast<size_t>(from.count));

		for (int i = 0; i < from.count; i++)
			list.Set(static_cast<uint32_t>(i),
				 Interface(env, from.interfaces[i]));
		return list;
	}

	std::vector<pid_t> pids_;
	std::vector<PidInterfaces> found_;
	int error_ = 0;
};

} // namespace

Napi::Value ReadFiles(const Napi::CallbackInfo &info)
{
	Napi::Array list = info[0].As<Napi::Array>();
	std::vector<std::string> paths;

	for (uint32_t i = 0; i < list.Length(); i++) {
		Napi::HandleScope scope(info.Env());
		paths.push_back(list.Get(i).As<Napi::String>().Utf8Value());
	}
	auto *batch = new ReadBatch(info.Env(), std::move(paths));
	Napi::Promise promise = batch->Promise();
	batch->Queue();
	return promise;
}

Napi::Value Interfaces(const Napi::CallbackInfo &info)
{
	Napi::Array list = info[0].As<Napi::Array>();
	std::vector<pid_t> pids;

	for (uint32_t i = 0; i < list.Length(); i++)
		pids.push_back(list.Get(i).As<Napi::Number>().Int32Value());
	auto *batch = new NetBatch(info.Env(), std::move(pids));
	Napi::Promise promise = batch->Promise();
	batch->Queue();
	return promise;
}
