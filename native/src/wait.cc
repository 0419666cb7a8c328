// SPDX-License-Identifier: Apache-2.0
#include "wait.h"

#include <unistd.h>

Wait::Wait(Napi::Env env, const char *name)
	: env_(env), context_(env, name), deferred_(env)
{
	napi_get_uv_event_loop(env, &loop_);
}

Wait::~Wait()
{
	if (fd_ >= 0)
		close(fd_);
}

Napi::Promise Wait::Start(double timeout_ms)
{
	Napi::Promise promise = deferred_.Promise();

	uv_timer_init(loop_, &deadline_);
	uv_timer_init(loop_, &retry_);
	deadline_.data = this;
	retry_.data = this;
	open_handles_ = 2;
	uv_timer_start(&deadline_, OnDeadline,
		       timeout_ms < 0 ? 0 : static_cast<uint64_t>(timeout_ms),
		       0);
	Begin();
	return promise;
}

int Wait::Watch(int fd, int events)
{
	int ret = uv_poll_init(loop_, &poll_, fd);

	if (ret < 0) {
		close(fd);
		return ret;
	}
	fd_ = fd;
	polling_ = true;
	poll_.data = this;
	open_handles_++;
	return Change(events);
}

int Wait::Change(int events)
{
	return uv_poll_start(&poll_, events, OnPoll);
}

void Wait::Retry(unsigned int after_ms)
{
	uv_timer_start(&retry_, OnRetry, after_ms, 0);
}

int Wait::Release()
{
	int fd = fd_;

	/* The poll handle must let go of it before somebody else watches it. */
	if (polling_)
		uv_poll_stop(&poll_);
	fd_ = -1;
	return fd;
}

void Wait::OnPoll(uv_poll_t *poll, int, int)
{
	static_cast<Wait *>(poll->data)->Step();
}

void Wait::OnRetry(uv_timer_t *timer)
{
	static_cast<Wait *>(timer->data)->Begin();
}

void Wait::OnDeadline(uv_timer_t *timer)
{
	static_cast<Wait *>(timer->data)->Deadline();
}

/* The last handle to close takes the object with it. */
void Wait::OnClosed(uv_handle_t *handle)
{
	Wait *self = static_cast<Wait *>(handle->data);

	if (--self->open_handles_ == 0) {
		Napi::HandleScope scope(self->env_);
		delete self;
	}
}

void Wait::CloseHandles()
{
	uv_close(reinterpret_cast<uv_handle_t *>(&deadline_), OnClosed);
	uv_close(reinterpret_cast<uv_handle_t *>(&retry_), OnClosed);
	if (polling_)
		uv_close(reinterpret_cast<uv_handle_t *>(&poll_), OnClosed);
}

/*
 * The scope runs the promise's reactions when it ends. In a call from
 * JavaScript (a wait that ends at once) that is left to the caller's own.
 */
void Wait::Settle()
{
	Napi::HandleScope handles(env_);
	Napi::CallbackScope scope(env_, context_);

	deferred_.Resolve(Result(env_));
}

void Wait::Finish()
{
	if (finished_)
		return;
	finished_ = true;
	if (polling_)
		uv_poll_stop(&poll_);
	Settle();
	CloseHandles();
}
