// SPDX-License-Identifier: Apache-2.0
/* What both waits are made of: a descriptor, a deadline and a promise. */
#ifndef SLIPWAY_WAIT_H
#define SLIPWAY_WAIT_H

#include <napi.h>
#include <uv.h>

/*
 * Owns itself: made by new, gone after Finish(). Step() is called when the
 * descriptor is ready, or on a retry without one; it calls Finish() at the end.
 */
class Wait {
public:
	Wait(Napi::Env env, const char *name);
	Wait(const Wait &) = delete;
	Wait &operator=(const Wait &) = delete;
	Napi::Promise Start(double timeout_ms);

protected:
	virtual ~Wait();
	/* First try; the descriptor is taken by Watch(), or Retry() is called. */
	virtual void Begin() = 0;
	virtual void Step() = 0;
	virtual void Deadline() = 0;
	virtual Napi::Value Result(Napi::Env env) = 0;

	/* Takes `fd`; it is closed at the end unless Release() took it back. */
	int Watch(int fd, int events);
	int Change(int events);
	void Retry(unsigned int after_ms);
	int Release();
	void Finish();

private:
	static void OnPoll(uv_poll_t *poll, int status, int events);
	static void OnDeadline(uv_timer_t *timer);
	static void OnRetry(uv_timer_t *timer);
	static void OnClosed(uv_handle_t *handle);
	void CloseHandles();
	void Settle();

	Napi::Env env_;
	Napi::AsyncContext context_;
	Napi::Promise::Deferred deferred_;
	uv_loop_t *loop_ = nullptr;
	uv_poll_t poll_;
	uv_timer_t deadline_;
	uv_timer_t retry_;
	int fd_ = -1;
	int open_handles_ = 0;
	bool polling_ = false;
	bool finished_ = false;
};

#endif
